"""The designs that every campaign is measured against; handed out first, drawn beside the front."""

from __future__ import annotations

from archsearch.architecture import Architecture, Block, Component, Position, Scalar
from archsearch.campaign.feasibility import priced
from archsearch.canonical import canonicalise
from archsearch.errors import InputError
from archsearch.presets import presets
from archsearch.records import TrialOutcome, TrialRecord, now_text
from archsearch.space import CampaignFile

CONV_ONLY = "conv only"
FULL_ATTENTION = ("attention x2", "short conv + attention")
"""Both are full attention; the better one is the yardstick."""


def _design(
    d_model: int, *mixers: tuple[str, dict[str, Scalar]], position: Position = "none"
) -> Architecture:
    blocks = tuple(
        Block(sequence=Component(name=name, options=options)) for name, options in mixers
    )
    return canonicalise(Architecture(d_model=d_model, position=position, blocks=blocks))


def reference_designs(file: CampaignFile, d_model: int) -> dict[str, Architecture]:
    """The reference designs of one width, by name: the usual ones, then the presets asked for.

    Raises:
        InputError: A preset cannot be built at this width.
    """
    designs = usual_designs(file, d_model)
    depth = len(file.space.default().blocks)
    problems: list[str] = []
    for name in file.search.reference_presets:
        try:
            preset = canonicalise(presets.get(name).design(d_model, depth))
        except InputError as error:
            where = f"search.reference_presets: {name} at d_model={d_model}"
            problems += [f"{where}: {problem}" for problem in error.problems]
            continue
        designs[f"{name} preset"] = preset
    if problems:
        raise InputError(problems)
    return designs


def usual_designs(file: CampaignFile, d_model: int) -> dict[str, Architecture]:
    """The references that every campaign has, without channel mixers, by name.

    Two layers of attention alone get rotary positions (learned ones at an odd width): without
    positions or a convolution they could not tell which value follows a key. The window is short
    against the longest test; the learned selection may serve twice as many tokens as the densest
    cell has queries.
    """
    shift: tuple[str, dict[str, Scalar]] = ("short_conv", {"kernel_size": 3})
    most_pairs = max(cell.pairs for cell in (*file.task.cells, *file.task.test_cells))
    window = max(4, min(64, file.task.longest_test_length // 16))
    return {
        "attention x2": _design(
            d_model,
            ("attention", {}),
            ("attention", {}),
            position="rotary" if d_model % 2 == 0 else "learned",
        ),
        "short conv + attention": _design(d_model, shift, ("attention", {})),
        CONV_ONLY: _design(
            d_model, ("base_conv", {"kernel_size": 3}), ("base_conv", {"kernel_size": "long"})
        ),
        "short conv + window": _design(d_model, shift, ("sliding_window", {"window": window})),
        "short conv + Based": _design(d_model, shift, ("based", {})),
        "short conv + learned selection": _design(
            d_model, shift, ("learned_selection", {"cap": 2 * most_pairs})
        ),
    }


def widths(file: CampaignFile) -> list[int]:
    """All widths of a space, the default one first."""
    default = file.space.default().d_model
    found = {int(value) for value in file.space.d_model.values()}
    return [default, *sorted(found - {default})]


def reference_widths(file: CampaignFile, chosen: str) -> list[int]:
    """The widths at which references stand: the default one, or all."""
    return widths(file) if chosen == "all" else widths(file)[:1]


def reference_record(
    file: CampaignFile, number: int, name: str, design: Architecture
) -> TrialRecord:
    """A reference that is to be trained."""
    return TrialRecord(
        number=number,
        outcome=TrialOutcome.RUNNING,
        architecture=design,
        reference=name,
        digest=design.digest,
        price=priced(file, design),
        started_at=now_text(),
    )


def planned_references(file: CampaignFile, chosen: str) -> list[TrialRecord]:
    """All references of a campaign, numbered from -1 downwards; the widest ones last.

    Args:
        file: The campaign's file.
        chosen: ``default`` or ``all``, the widths.
    """
    all_widths = reference_widths(file, chosen)
    planned: list[TrialRecord] = []
    for width in all_widths:
        suffix = "" if width == all_widths[0] else f" @d{width}"
        for name, design in reference_designs(file, width).items():
            planned.append(reference_record(file, -1 - len(planned), name + suffix, design))
    return planned
