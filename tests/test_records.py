"""Records survive JSON, refuse what they do not know, and tell failures apart."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from archsearch.errors import StoreError
from archsearch.records import (
    Evaluation,
    EvaluationRequest,
    Failure,
    FailureKind,
    RunOutcome,
    TrialOutcome,
    TrialRecord,
    seal,
    unseal,
)
from tests.helpers import made_up, request


def test_requests_and_answers_survive_json() -> None:
    asked = request(directory="/tmp/x", deadline_seconds=2.5)
    assert EvaluationRequest.model_validate_json(asked.model_dump_json()) == asked
    answered = made_up(asked)
    assert Evaluation.model_validate_json(answered.model_dump_json()) == answered
    assert unseal(Evaluation, seal(answered), "here") == answered


def test_unknown_fields_and_versions_are_refused() -> None:
    plain = made_up(request()).model_dump(mode="json")
    with pytest.raises(ValidationError):
        Evaluation.model_validate(plain | {"odd": 1})
    with pytest.raises(ValidationError):
        Evaluation.model_validate(plain | {"schema_version": 2})


def test_the_wrong_kind_of_record_is_refused() -> None:
    with pytest.raises(StoreError, match="not a TrialRecord record"):
        unseal(TrialRecord, seal(made_up(request())), "here")
    for text in ("", "[]", "{}", "null", '{"record": {}, "sha256": 1}'):
        with pytest.raises(StoreError, match="here"):
            unseal(TrialRecord, text, "here")


def test_a_trial_is_summed_up_by_its_last_evaluation() -> None:
    empty = TrialRecord(number=0, outcome=TrialOutcome.INFEASIBLE)
    assert empty.test == ()
    assert empty.worst_cell == 0
    done = empty.model_copy(update={"evaluations": (made_up(request()),)})
    assert done.worst_cell == min(c.accuracy for c in done.test)


def test_each_final_run_outcome_is_a_trial_outcome() -> None:
    for outcome in RunOutcome:
        if outcome is not RunOutcome.PAUSED:
            assert TrialOutcome(outcome.value).value == outcome.value
    assert {o for o in TrialOutcome if o.was_trained} == {
        TrialOutcome.SOLVED,
        TrialOutcome.FINISHED,
    }


def test_cells_are_labelled_by_what_sets_them_apart() -> None:
    cell = made_up(request()).test[0]
    assert cell.label == "(8,2)"
    assert cell.model_copy(update={"power_a": 1.0}).label == "(8,2,a=1)"


@pytest.mark.parametrize("error", [ValueError(), ValueError("two\nlines"), KeyError("k" * 9000)])
def test_an_exception_becomes_one_line_and_its_story(error: Exception) -> None:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001
        failure = Failure.of(caught)
    assert failure.kind is FailureKind.ERROR
    assert failure.message.startswith(type(error).__name__)
    assert "\n" not in failure.message
    assert len(failure.message) <= 500
    assert "test_records" in failure.traceback or len(failure.traceback) == 8000
    assert Failure.model_validate_json(failure.model_dump_json()) == failure


@example("a file's name that is no UTF-8: \udc80", 0.0)
@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_a_sealed_record_is_a_line_of_ascii_and_comes_back(text: str, seconds: float) -> None:
    record = Failure(kind=FailureKind.ERROR, message=text)
    line = seal(record)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert unseal(Failure, line, "here") == record
    run = made_up(request()).model_copy(update={"seconds": seconds})
    assert unseal(Evaluation, seal(run), "here") == run


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_number_for_is_not_sealed(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        seal(made_up(request()).model_copy(update={"seconds": value}))
