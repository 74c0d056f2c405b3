"""``archsearch show``: all that is known of one design."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archsearch.cli._options import AsJson, Directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archsearch.campaign.reading import Reading
    from archsearch.records import CellScore, Confirmation, Evaluation, Front, TrialRecord


def show(
    directory: Directory,
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL",
            help="A trial's number, or a reference's name or letter, such as 'conv only', A.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show one trial or reference in full."""
    from archsearch.campaign.estimates import by_trial
    from archsearch.campaign.reading import read, with_crossover
    from archsearch.cli import render

    reading = read(directory)
    record = with_crossover(_find(reading, trial))
    again = by_trial(reading.confirmations).get(record.number, [])
    if as_json:
        plain = [c.model_dump(mode="json") for c in again]
        render.print_json({**record.model_dump(mode="json"), "confirmations": plain})
        return
    name = f"trial {record.number}" if record.reference is None else record.reference
    render.print_block(name, _summary(record))
    if record.architecture is not None:
        blocks = [
            (str(i), block.sequence_text, str(block.channel))
            for i, block in enumerate(record.architecture.blocks)
        ]
        _table("design", ("block", "sequence mixer", "channel mixer"), blocks, num_words=2)
    if record.params:
        params = [(name, str(value)) for name, value in sorted(record.params.items())]
        _table("proposed by the sampler", ("parameter", "value"), params, num_words=2)
    if record.price is not None:
        render.print_line()
        render.print_block("price", _price(record))
    trained_on = [str(cell) for cell in reading.campaign.file.task.cells]
    if len(record.runs) > 1:
        headings = ("run", "rate", "steps", "accuracy", "log probability", "fate")
        _table("race", headings, _race(record), num_words=1)
    if again:
        _show_confirmations(reading.front, record, again)
    for evaluation in record.runs.values():
        seconds = sum(e.seconds for e in record.evaluations if e.seed.run == evaluation.seed.run)
        _show_evaluation(evaluation.model_copy(update={"seconds": seconds}), trained_on)
    if record.failure is not None and record.failure.traceback:
        render.print_line()
        for line in record.failure.traceback.splitlines():
            render.print_line(line)


def _find(reading: Reading, wanted: str) -> TrialRecord:
    """The record of that number or name, or of that letter in tables of the front.

    Raises:
        InputError: There is none; the message says which there are.
    """
    from archsearch.cli._picture import letter
    from archsearch.errors import InputError, suggestion

    names = {r.reference: r for r in reading.records if r.reference is not None}
    if wanted in names:
        return names[wanted]
    numbers = {str(r.number): r for r in reading.records}
    if (short := wanted.removeprefix("trial ")) in numbers:
        return numbers[short]
    for i, row in enumerate(reading.front.references):
        if wanted == letter(i):
            return numbers[str(row.number)]
    trials = [r.number for r in reading.records if r.reference is None]
    there = f"trials {min(trials)} to {max(trials)}" if trials else "no trials yet"
    if names:
        there += f", references {', '.join(repr(n) for n in names)}"
    raise InputError(f"there is no trial '{wanted}'{suggestion(wanted, names)} (there are {there})")


def _table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    num_words: int = 0,
    ranked: bool = False,
) -> None:
    """A table under an empty line; its last ``num_words`` columns hold words."""
    from archsearch.cli import render
    from archsearch.cli._text import Column

    first_word = len(headings) - num_words
    render.print_line()
    columns = [
        Column(heading, rank=i if ranked else 0, text=i >= first_word)
        for i, heading in enumerate(headings)
    ]
    render.print_table(columns, rows, title=title)


def _summary(record: TrialRecord) -> list[tuple[str, str]]:
    from archsearch.canonical import has_oracle
    from archsearch.cli._text import duration

    pairs = _result(record)
    if record.architecture is not None:
        design = record.architecture
        pairs += [
            ("width", str(design.d_model)),
            ("position", design.position),
            ("norm", design.norm),
            ("digest", record.digest or "-"),
        ]
        if has_oracle(design):
            pairs.append(("oracle", "is told where the answers are"))
    if record.evaluations:
        pairs.append(("training", duration(record.seconds)))
    if record.attempts > 1:
        pairs.append(("attempts", str(record.attempts)))
    if record.finished_at:
        pairs.append(("finished", record.finished_at))
    if record.failure is not None:
        node = f" on {record.failure.node}" if record.failure.node else ""
        pairs.append(("failure", f"{record.failure.kind.value}{node}: {record.failure.message}"))
    return pairs


def _result(record: TrialRecord) -> list[tuple[str, str]]:
    from archsearch.cli._text import accuracy, decades
    from archsearch.records import TrialOutcome
    from archsearch.space.constraints import LEAST_VIOLATION

    pairs = [("outcome", record.outcome.value)]
    if record.duplicate_of is not None:
        pairs.append(("duplicate of", f"trial {record.duplicate_of}"))
    pairs += [
        # the least says only that there is one: growth has no amount
        ("violated", name if value <= LEAST_VIOLATION else f"{name} (by {100 * value:.3g}%)")
        for name, value in record.violations.items()
    ]
    if record.outcome.was_trained:
        pairs.append(("accuracy", accuracy(record.accuracy)))
        pairs.append(("worst cell", accuracy(record.worst_cell)))
    if record.outcome is TrialOutcome.STOPPED:
        pairs.append(("accuracy so far", accuracy(record.accuracy)))
    if record.learnability is not None:
        pairs.append(("rates ahead at the first rung", f"{decades(record.learnability)} decades"))
    return pairs


def _race(record: TrialRecord) -> list[Sequence[str]]:
    """The learning rates of a trial, by their last validation."""
    from archsearch.campaign.race import mean_log_probability
    from archsearch.cli._text import accuracy

    rows: list[Sequence[str]] = []
    for run, last in sorted(record.runs.items()):
        verdict = record.verdicts.get(run)
        fate = last.outcome.value
        if verdict is not None:
            fate = verdict.kind.value + (f", finished for the audit ({fate})" * verdict.audited)
        elif run == record.scored_run:
            fate += ", scored"
        point = last.curve[-1] if last.curve else None
        rows.append(
            (
                str(run),
                f"{last.learning_rate:g}",
                f"{last.step:,}",
                accuracy(None if point is None else sum(point.accuracy) / len(point.accuracy)),
                "-" if point is None else f"{mean_log_probability(last):.3f}",
                fate,
            )
        )
    return rows


def _show_confirmations(
    front: Front, record: TrialRecord, confirmations: Sequence[Confirmation]
) -> None:
    """What fresh seeds say of the design, and each of them."""
    from archsearch.campaign.estimates import score_of
    from archsearch.cli import render
    from archsearch.cli._front_rows import interval, status_of
    from archsearch.cli._text import accuracy, count, duration

    rows = (*front.members, *front.dominated, *front.references)
    row = next(row for row in rows if row.number == record.number)
    pairs = [
        ("mean of fresh seeds", f"{accuracy(row.accuracy)} of {count(row.seeds, 'seed')}"),
        ("95% interval", interval(row)),
        ("search score", accuracy(row.search_accuracy)),
        ("status", status_of(row)),
    ]
    if row.p_on_front is not None:
        pairs.insert(3, ("P(on front)", f"{row.p_on_front:.2f}"))
    render.print_line()
    render.print_block("confirmation", pairs)
    listed = []
    for confirmation in confirmations:
        run = confirmation.evaluation
        worst = min((cell.accuracy for cell in run.test), default=0.0)
        listed.append(
            (
                str(run.seed.run),
                accuracy(score_of(run)),
                accuracy(worst),
                f"{run.step:,}",
                duration(run.seconds),
                run.outcome.value,
            )
        )
    headings = ("run", "accuracy", "worst", "steps", "time", "outcome")
    _table("fresh seeds", headings, listed, num_words=1)


def _price(record: TrialRecord) -> list[tuple[str, str]]:
    from archsearch.cli._text import human

    price = record.price
    assert price is not None
    embedding = price.embedding_params
    return [
        ("FLOPs", f"{human(price.flops)} (forward, a sequence of {price.n_max:,} tokens)"),
        ("executed", human(price.flops_executed, "FLOPs")),
        ("growth", f"{price.growth_text} (leading coefficient {price.leading_coefficient:.6g})"),
        ("form", price.form),
        ("cheaper than full attention", price.crossover_text),
        ("parameters", human(price.params)),
        ("embedding", "-" if embedding is None else human(embedding, "parameters")),
        ("state", human(price.state_floats, "floats")),
    ]


def _show_evaluation(evaluation: Evaluation, trained_on: Sequence[str]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import duration, human

    versions = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
    seed = evaluation.seed
    pairs = [
        ("outcome", f"{evaluation.outcome.value} at step {evaluation.step:,}"),
        ("learning rate", f"{evaluation.learning_rate:g}"),
        ("seed", f"campaign {seed.campaign}, trial {seed.trial}, run {seed.run}"),
        ("time", f"{duration(evaluation.seconds)} on {evaluation.node or '-'}"),
        ("spent", human(evaluation.train_flops, "FLOPs")),
        ("precision", evaluation.precision),
        ("versions", versions or "-"),
    ]
    if evaluation.detail:
        pairs.insert(1, ("detail", evaluation.detail))
    render.print_line()
    render.print_block(f"run {seed.run}", pairs)
    if evaluation.test:
        _show_test(evaluation.test)
    if evaluation.curve:
        _show_curve(evaluation, trained_on)


def _show_test(test: Sequence[CellScore]) -> None:
    from archsearch.cli._text import accuracy

    rows = [
        (
            cell.label,
            accuracy(cell.accuracy),
            # of a model that names some value of the sequence at hand
            accuracy(1 / cell.pairs),
            f"{cell.log_probability:.3f}",
            f"{cell.queries:,}",
        )
        for cell in test
    ]
    _table("test", ("cell", "accuracy", "guess", "log probability", "queries"), rows)
    bounds = sorted({(b.low, b.high) for cell in test for b in cell.by_distance})
    if not bounds:
        return
    rows_by_distance = []
    for low, high in bounds:
        found = [
            next((b.accuracy for b in cell.by_distance if (b.low, b.high) == (low, high)), None)
            for cell in test
        ]
        rows_by_distance.append((f"{low}-{high}", *(accuracy(value) for value in found)))
    headings = ("distance", *(cell.label for cell in test))
    _table("accuracy by key distance", headings, rows_by_distance, ranked=True)


def _show_curve(evaluation: Evaluation, trained_on: Sequence[str]) -> None:
    from archsearch.cli import render
    from archsearch.cli._text import accuracy, sparkline

    rows = [
        (str(p.step), f"{p.train_loss:.4f}", *(accuracy(value) for value in p.accuracy))
        for p in evaluation.curve
    ]
    _table("validation, on the training cells", ("step", "loss", *trained_on), rows, ranked=True)
    if render.on_terminal():
        longest = max(map(len, trained_on))
        for i, label in enumerate(trained_on):
            line = sparkline([p.accuracy[i] for p in evaluation.curve])
            render.print_line(f"{label:>{longest}} {line}")
