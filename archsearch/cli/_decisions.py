"""What races and stops decided, in words: the same in ``status`` and in the live view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archsearch.cli._text import count, share

if TYPE_CHECKING:
    from archsearch.campaign.decisions import Decisions, Saving, Share


def decision_pairs(found: Decisions) -> list[tuple[str, str]]:
    """A title and a text for each kind of decision that was made."""
    pairs = []
    for number, wrong, title, one, many in (
        (found.lost, found.wrong_choices, "races", "lost its race", "lost their race"),
        (found.stopped, found.wrongful_stops, "stopped", "was stopped", "were stopped"),
    ):
        if number:
            what = one if number == 1 else many
            pairs.append((title, f"{count(number, 'run')} {what}{_audit(wrong)}"))
    if found.saved.share:
        stops = f"; of what races leave, {_saved(found.saved_by_stops)} by stops"
        whole = f"{_saved(found.saved)} of the FLOPs by races and stops"
        pairs.append(("training saved", whole + (stops if found.stopped else "")))
    return pairs


def _saved(found: Saving) -> str:
    between = "" if found.low is None else f" (95%: {share(found.low)} to {share(found.high)})"
    return share(found.share) + between


def _audit(wrong: Share) -> str:
    if not wrong.of:
        return ""
    between = f"95%: {share(wrong.low)} to {share(wrong.high)}"
    return f"; of {wrong.of} finished all the same {wrong.number} wrongly ({between})"
