"""From a campaign's record to a file of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from archsearch.campaign.config import Campaign
from archsearch.campaign.estimates import intervals, scores_of
from archsearch.campaign.front import best_of
from archsearch.campaign.reading import with_crossover
from archsearch.campaign.rungs import last_rung
from archsearch.errors import InputError, StoreError
from archsearch.exporters import exporters, write
from archsearch.exporters.base import ArchitectureFile, FreshSeeds, Source
from archsearch.records import Confirmation, Front, RunSeed, TrialRecord

EXPORTS = "exports"
PICKS = ("knee", "best", "cheapest")


class Exported(NamedTuple):
    """A design that was written.

    Attributes:
        path: Of the file or folder.
        unverified: What could not be compared with the design; None where all was, or nothing was
            to be.
    """

    path: Path
    unverified: str | None


def picked(front: Front, pick: str) -> int:
    """The member that a word stands for: its trial number.

    Args:
        front: A campaign's front.
        pick: ``knee``; ``best`` (most accurate, the cheapest of those equal to three digits);
            ``cheapest``.

    Raises:
        InputError: The word is not known, or the front is empty.
    """
    if pick not in PICKS:
        raise InputError(f"--pick: got '{pick}'; must be one of {', '.join(PICKS)}")
    best = best_of(front.members)
    if best is None:
        raise InputError("the front is empty: there is nothing to pick; give --trial N")
    if pick == "knee" and front.knee is not None:
        return front.knee
    if pick == "best":
        return best.number
    return min(front.members, key=lambda m: m.cost).number


def describe(
    campaign: Campaign, record: TrialRecord, confirmations: Sequence[Confirmation] = ()
) -> ArchitectureFile:
    """The self-contained description of a trial's design.

    Args:
        campaign: The trial's.
        record: Of the trial, or of a reference.
        confirmations: All of the campaign: intervals pool what seeds scatter.

    Raises:
        InputError: The trial has no design that could be built.
    """
    if record.architecture is None or record.price is None:
        raise InputError(f"trial {record.number}: has no design that can be built; choose another")
    seed, training = (
        RunSeed(campaign=campaign.settings.seed, trial=record.number),
        campaign.file.training,
    )
    if record.scored is not None:
        seed = record.scored.seed
        training = training.model_copy(update={"learning_rate": record.scored.learning_rate})
    return ArchitectureFile(
        digest=record.digest,
        architecture=record.architecture,
        task=campaign.file.task,
        training=training,
        seed=seed,
        price=with_crossover(record).price,
        accuracy=record.accuracy if record.test else None,
        test=record.test,
        fresh_seeds=_fresh_seeds(record, confirmations),
        source=Source(
            campaign=campaign.settings.study,
            trial=record.reference or str(record.number),
            archsearch=campaign.settings.versions.get("archsearch", "unknown"),
        ),
    )


def _fresh_seeds(record: TrialRecord, confirmations: Sequence[Confirmation]) -> FreshSeeds | None:
    scores = scores_of(confirmations)
    mine = scores.get(record.number)
    if mine is None:
        return None
    low, high = intervals(scores).get(record.number, (None, None))
    return FreshSeeds(count=len(mine), accuracy=fmean(mine), low=low, high=high)


def file_name(record: TrialRecord, format_name: str) -> str:
    """What a trial's export is called; folders, which have no suffix, are told apart by format.

    Raises:
        InputError: The format is unknown.
    """
    name = (record.reference or f"trial-{record.number}").replace("+", "and")
    name = re.sub(r"[^A-Za-z0-9._]+", "-", name)
    return name + (exporters.get(format_name).suffix or f"-{format_name}")


def export_record(
    campaign: Campaign,
    record: TrialRecord,
    format_name: str,
    out: Path | None = None,
    *,
    confirmations: Sequence[Confirmation] = (),
    weights: bool = False,
    verify: bool = True,
) -> Exported:
    """Writes a design, by default to ``exports/trial-<number>`` in the campaign's folder.

    See ``describe`` for the confirmations, ``exporters.write`` for what comes beside it, and
    ``file_name`` for the rest of the name.

    Raises:
        InputError: The format is unknown, the name is unusable, or the trial has no buildable
            design.
        StoreError: The weights are not there, or the file cannot be written.
        MismatchError: What was written is not the design; nothing is left of it.
    """
    exporter = exporters.get(format_name)
    path = out or campaign.directory / EXPORTS / file_name(record, format_name)
    data = _weights(campaign, record) if weights else None
    file = describe(campaign, record, confirmations)
    return Exported(path, write(file, exporter, path, data, verify=verify))


def _weights(campaign: Campaign, record: TrialRecord) -> bytes:
    """The content of a safetensors file.

    Raises:
        StoreError: The weights were not kept, or are damaged.
    """
    from safetensors.numpy import load_file, save

    from archsearch.evaluate import CHECKPOINT, read_rung

    rung = last_rung(campaign, record)
    if rung is None or not (rung / CHECKPOINT).is_file():
        raise StoreError(
            f"{campaign.directory}: the weights of trial {record.number} were not kept;"
            " export without --weights, then 'archsearch train FILE --out WEIGHTS'"
        )
    if read_rung(rung) is None:
        raise StoreError(f"{rung}: damaged, its files do not match their checksums")
    prefix = "model."
    tensors = load_file(rung / CHECKPOINT)
    return save({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
