"""The data card of a table, to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from archsearch.bench.table import CARD, DECIMALS, DESIGNS, RUNS, SPACE, Card, Member


def families_text(families: Iterable[str]) -> str:
    """Families of a design in one word group."""
    return " + ".join(families)


def members_by_family(front: Iterable[Member]) -> dict[str, int]:
    """Members of a front by the families of their mixers, most first."""
    return dict(Counter(families_text(member.families) for member in front).most_common())


def card_text(card: Card) -> str:
    """Markdown; the numbers are those of ``card.json``."""
    state = "complete" if card.complete else f"incomplete: {card.runs:,} of {card.expected:,} runs"
    parts = [
        f"# {card.name}: {card.title}",
        f"A table of real results, {state}. Written by `archsearch bench tabular`; read by"
        " `archsearch.bench.table.load_table`.",
        "## What was run",
        *_protocol(card),
        "## What it took",
        *_effort(card),
        "## What stands out",
        *_front(card),
        "## Files",
        _files(),
    ]
    return "\n\n".join(parts) + "\n"


def _protocol(card: Card) -> list[str]:
    task, training = card.task, card.training
    cells = " ".join(map(str, task.cells))
    rates = ", ".join(f"{rate:g}" for rate in card.rates)
    return [
        f"{card.designs:,} different designs, out of {card.assignments:,} assignments of the space"
        f" ({card.refused:,} of them cannot be built or violate a constraint), at the rates {rates}"
        f" with {card.seeds} seeds each.",
        f"MQAR with V = {task.vocab_size}, filler {task.fillers}, cells {cells}."
        f" **Accuracy is of the test split of these cells.** The test cells of `{SPACE}` say at"
        f" which length designs are priced ({card.priced_at:,} tokens) and are never run; nor is"
        " its vocabulary, which has to exceed that length. So a score says nothing about"
        f" {card.priced_at:,} tokens. Constant reaches are at most a quarter of the longest cell.",
        f"At most {training.steps:,} steps of {training.batch_tokens:,} tokens, AdamW, warm-up over"
        f" {100 * training.warmup_fraction:g} % and cosine to zero, weight decay"
        f" {training.weight_decay:g}, gradients clipped at {training.clip_norm:g},"
        f" {training.precision}. Every {training.eval_every} steps"
        f" {training.validation_queries} validation queries a cell; a run stops when every cell"
        f" passes 0.995. {training.test_queries:,} test queries a cell at the end. Validation and"
        " test data are the same for all runs; weights and batches differ by design and seed, and"
        " are shared by the rates.",
    ]


def _effort(card: Card) -> list[str]:
    mean = card.cpu_seconds / max(1, card.runs)
    outcomes = ", ".join(f"{count:,} {name}" for name, count in card.outcomes.items()) or "no run"
    lines = [
        f"{card.runs:,} runs ({outcomes}): {card.cpu_seconds / 3600:.2f} core-hours, {mean:.1f}"
        " CPU seconds a run on one thread, start and test included;"
        f" {card.seconds / 3600:.2f} hours on the clock, other work on the machine included.",
    ]
    for names, count in card.versions:
        what = ", ".join(f"{name} {value}" for name, value in names.items())
        lines.append(f"- {count:,} runs: {what}")
    return lines


def _front(card: Card) -> list[str]:
    families = {family for member in card.front for family in member.families}
    floor = "none" if card.convolutions_only is None else f"{card.convolutions_only:.3f}"
    intro = (
        f"The front of (score, log10 FLOPs) has {len(card.front)} members of {len(families)}"
        " families. A score is the test accuracy, each cell capped at 0.995, mean over cells and"
        " seeds, at the rate that is best by validation; a member beats the best design of"
        f" convolutions only ({floor}) by 0.05."
    )
    head = ["| score | MFLOP | rate | design | families |", "|---|---|---|---|---|"]
    rows = [
        f"| {m.score:.3f} | {m.flops / 1e6:.1f} | {m.learning_rate:g} | `{m.design}` |"
        f" {families_text(m.families)} |"
        for m in card.front
    ]
    return [intro, "\n".join(head + rows)]


def _files() -> str:
    return "\n".join(
        (
            f"- `{SPACE}`: the campaign file; what may be proposed.",
            f"- `{DESIGNS}`: each design with its campaign key and its price.",
            f"- `{RUNS}`: arrays over designs, rates, seeds, validations and cells. Accuracies are"
            f" exact; log-probabilities and losses are rounded to {DECIMALS} decimals.",
            f"- `{CARD}`: this card as data, with the SHA-256 of the three files above.",
        )
    )
