"""A campaign file, from text to checked values; every problem of the file is reported at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from archsearch.architecture import Norm, Position
from archsearch.errors import InputError, suggestion
from archsearch.protocol import TrainingConfig
from archsearch.space.constraints import Constraint
from archsearch.space.domains import Domain, Fixed
from archsearch.space.nodes import (
    UNREADABLE,
    Node,
    Place,
    Problem,
    compose,
    input_error,
    join,
    read_text,
)
from archsearch.space.parse_domains import MixerReader, read_domain, strict
from archsearch.space.parse_layers import DEPTH, LayersReader
from archsearch.space.reader import Reader, found
from archsearch.space.schema import (
    NAME_PATTERN,
    SECOND_OBJECTIVES,
    CampaignFile,
    SearchConfig,
    Space,
)
from archsearch.tasks.mqar import MQARConfig

_TOP: Final = (
    "name",
    "title",
    "task",
    "space",
    "training",
    "objectives",
    "constraints",
    "search",
)


def _one_line(title: str) -> str:
    title = title.strip()
    if len(title) > 300 or re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", title):
        raise ValueError("must be one line of at most 300 characters")
    return title


_WIDTH = strict(Annotated[int, Field(ge=1, le=65536)])
_POSITION = strict(Position)
_NORM = strict(Norm)
_NAME = strict(Annotated[str, Field(pattern=NAME_PATTERN)])
_TITLE = strict(Annotated[str, AfterValidator(_one_line)])
_TEXT = strict(str)


def load(path: str | Path) -> CampaignFile:
    """Reads a campaign file.

    Raises:
        InputError: It cannot be used; one line for each problem, in the order of the file.
    """
    return loads(read_text(path), str(path))


def loads(text: str, filename: str = "<text>") -> CampaignFile:
    """Reads the text of a campaign file.

    Args:
        text: YAML.
        filename: What messages call it.

    Raises:
        InputError: It cannot be used; one line for each problem, in the order of the text.
    """
    root, problems = compose(text)
    if root is None or root.value is None:
        if not problems:
            what = "the file is empty; a campaign file needs name, task and space"
            problems = [Problem(Place(1, 1), "", what)]
        raise input_error(filename, problems)
    reader = Reader()
    reader.problems += problems
    campaign = _campaign(reader, root, text)
    if reader.problems:
        raise input_error(filename, reader.problems)
    assert campaign is not None
    return campaign


def _campaign(reader: Reader, root: Node, text: str) -> CampaignFile | None:
    entries = reader.mapping(root, "", _TOP, required=("name", "task", "space"))
    if entries is None:
        return None
    empty = Node({}, root.place)
    name = _name(reader, entries.get("name"))
    title = reader.value(entries["title"], "title", _TITLE) if "title" in entries else ""
    task = reader.model(MQARConfig, entries["task"], "task") if "task" in entries else None
    space = _space(reader, entries["space"], "space") if "space" in entries else None
    training = reader.model(TrainingConfig, entries.get("training", empty), "training")
    search = reader.model(SearchConfig, entries.get("search", empty), "search")
    constraints = _constraints(reader, entries.get("constraints"))
    if training and task:
        place = entries.get("training", entries["task"])
        if isinstance(place.value, dict):
            place = place.value.get("batch_tokens", place)
        _check_batch(reader, place.place, training, task)
    if training and search:
        training, search = _with_rates(reader, entries, training, search)
    objectives = _objectives(reader, entries.get("objectives"), search)
    if name is None or task is None or space is None or training is None or search is None:
        return None
    return CampaignFile(
        name, title or "", task, space, training, objectives, constraints, search, text
    )


def _with_rates(
    reader: Reader, entries: Mapping[str, Node], training: TrainingConfig, search: SearchConfig
) -> tuple[TrainingConfig, SearchConfig]:
    """One learning rate or several: said once, in the training or in the search."""
    fixed, raced = (
        node.value.get(key) if node is not None and isinstance(node.value, dict) else None
        for node, key in (
            (entries.get("training"), "learning_rate"),
            (entries.get("search"), "learning_rates"),
        )
    )
    if fixed is not None and raced is not None:
        text = "given beside training.learning_rate; keep one: the rates to race, or the fixed rate"
        reader.report(raced.place, "search.learning_rates", text)
    if fixed is not None:
        return training, search.model_copy(update={"learning_rates": (training.learning_rate,)})
    if len(search.learning_rates) == 1:
        training = training.model_copy(update={"learning_rate": search.learning_rates[0]})
    return training, search


def _name(reader: Reader, node: Node | None) -> str | None:
    if node is None:
        return None
    name: str | None = reader.value(node, "name", _TEXT)
    if name is not None:
        try:
            _NAME.validate_python(name)
        except ValueError:
            text = (
                f"{found(name)}; must be 1 to 100 letters, digits, '.', '_' or '-' and begin with a"
                " letter or digit; put free text under 'title'"
            )
            reader.report(node.place, "name", text)
            return None
    return name


def _check_batch(reader: Reader, place: Place, training: TrainingConfig, task: MQARConfig) -> None:
    # of a longer test cell, one sequence is a batch
    longest = max(cell.length for cell in task.cells)
    if training.batch_tokens < longest:
        text = (
            f"{training.batch_tokens} is less than one sequence of the longest training cell"
            f" ({longest}); must be at least {longest}"
        )
        reader.report(place, "training.batch_tokens", text)


def _objectives(reader: Reader, node: Node | None, search: SearchConfig | None) -> tuple[str, ...]:
    default = ("accuracy", "flops")
    items = None if node is None else reader.items(node, "objectives")
    if node is None or items is None:
        return default
    if not 2 <= len(items) <= 3:
        text = f"got {len(items)}; must be two or three, such as [accuracy, flops]"
        reader.report(node.place, "objectives", text)
        return default
    names = []
    places = (("accuracy",), SECOND_OBJECTIVES, ("learnability",))
    for i, (item, allowed) in enumerate(zip(items, places, strict=False)):
        value = item.plain()
        if value not in allowed and value is not UNREADABLE:
            hint = suggestion(value, allowed) if isinstance(value, str) else ""
            one_of = "one of " if len(allowed) > 1 else ""
            text = f"{found(value)}; must be {one_of}{', '.join(allowed)}{hint}"
            reader.report(item.place, join("objectives", i), text)
        elif i == 2 and search is not None and len(search.learning_rates) == 1:
            text = "learnability needs a race: two search.learning_rates or more"
            reader.report(item.place, join("objectives", i), text)
        names.append(str(value))
    return tuple(names)


def _constraints(reader: Reader, node: Node | None) -> tuple[Constraint, ...]:
    constraints: list[Constraint] = []
    for i, item in enumerate((reader.items(node, "constraints") or ()) if node else ()):
        path = join("constraints", i)
        if not isinstance(item.value, str):
            reader.value(item, path, _TEXT)
            continue
        try:
            constraint = Constraint.parse(item.value)
        except InputError as error:
            reader.report(item.place, path, str(error))
            continue
        if constraint in constraints:
            reader.report(item.place, path, f"'{constraint}' again; list each constraint once")
        constraints.append(constraint)
    return tuple(constraints)


def _space(reader: Reader, node: Node, path: str) -> Space | None:
    known = ("d_model", "position", "norm", "depth", "layers")
    entries = reader.mapping(node, path, known, required=("d_model", "layers"))
    if entries is None:
        return None
    domains: dict[str, Domain | None] = {
        "d_model": None,
        "position": Fixed("none"),
        "norm": Fixed("layernorm"),
        "depth": None,
    }
    adapters = {"d_model": _WIDTH, "position": _POSITION, "norm": _NORM, "depth": DEPTH}
    for key, adapter in adapters.items():
        if key in entries:
            domains[key] = read_domain(reader, entries[key], join(path, key), adapter)
    mixers = MixerReader(reader)
    layers = None
    if "layers" in entries:
        layers = LayersReader(reader, mixers, node, path, entries).read(domains["depth"])
    if domains["d_model"] is not None:
        mixers.check_widths(domains["d_model"])
    d_model, position, norm = (domains[key] for key in ("d_model", "position", "norm"))
    if d_model is None or position is None or norm is None or layers is None:
        return None
    return Space(d_model, position, norm, layers)
