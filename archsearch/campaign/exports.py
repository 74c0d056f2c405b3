"""From a campaign's record to a file of its own."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from archsearch._version import __version__
from archsearch.campaign.config import Campaign, write_atomically
from archsearch.campaign.rungs import last_rung
from archsearch.errors import InputError, StoreError
from archsearch.exporters import exporters
from archsearch.exporters.base import WEIGHTS_NAME, ArchitectureFile, Source, Weights
from archsearch.records import Front, RunSeed, TrialRecord

EXPORTS = "exports"
PICKS = ("knee", "best", "cheapest")


def picked(front: Front, pick: str) -> int:
    """The member that a word stands for: its trial number.

    Args:
        front: A campaign's front.
        pick: ``knee``; ``best`` (most accurate, the cheaper of equals); ``cheapest``.

    Raises:
        InputError: The word is not known, or the front is empty.
    """
    if pick not in PICKS:
        raise InputError(f"--pick: got '{pick}'; must be one of {', '.join(PICKS)}")
    if not front.members:
        raise InputError("the front is empty: there is nothing to pick; give --trial N")
    if pick == "knee" and front.knee is not None:
        return front.knee
    if pick == "best":
        return max(front.members, key=lambda m: (m.accuracy, -m.cost)).number
    return min(front.members, key=lambda m: m.cost).number


def describe(campaign: Campaign, record: TrialRecord) -> ArchitectureFile:
    """The self-contained description of a trial's design.

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
        price=record.price,
        accuracy=record.accuracy if record.test else None,
        test=record.test,
        source=Source(
            campaign=campaign.settings.study,
            trial=record.reference or str(record.number),
            archsearch=__version__,
        ),
    )


def export_record(
    campaign: Campaign,
    record: TrialRecord,
    format_name: str,
    out: Path | None = None,
    *,
    weights: bool = False,
) -> Path:
    """Writes a design, by default to ``exports/trial-<number>`` in the campaign's folder.

    Raises:
        InputError: The format is unknown, the name is unusable, or the trial has no buildable
            design.
        StoreError: The weights are not there, or the file cannot be written.
    """
    exporter = exporters.get(format_name)
    file = describe(campaign, record)
    name = (record.reference or f"trial-{record.number}").replace("+", "and")
    name = re.sub(r"[^A-Za-z0-9._]+", "-", name)
    path = out or campaign.directory / EXPORTS / f"{name}{exporter.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if weights:
            beside = path.with_suffix(".safetensors")
            if beside == path or not re.fullmatch(WEIGHTS_NAME, beside.name):
                raise InputError(
                    f"--out: got '{path.name}'; with weights beside it the name must be letters,"
                    f" digits, '.', '_' or '-', such as design{exporter.suffix}"
                )
            digest = _copy_weights(campaign, record, beside)
            file = file.model_copy(update={"weights": Weights(file=beside.name, sha256=digest)})
        write_atomically(path, exporter.render(file))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def _copy_weights(campaign: Campaign, record: TrialRecord, to: Path) -> str:
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
    tensors = load_file(rung / CHECKPOINT)
    prefix = "model."
    data = save({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    aside = to.with_name(f".{to.name}.tmp")
    aside.write_bytes(data)
    aside.replace(to)
    return hashlib.sha256(data).hexdigest()
