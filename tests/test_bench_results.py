"""The tables of the published benches follow from their data."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "results" / "bench"
OURS, LABELLED, NAIVE = "archsearch", "naive, labelled positions", "naive"


def measured(name: str) -> Any:
    return json.loads((BENCH / f"{name}.json").read_text())


def shown(header: str) -> list[list[str]]:
    """The rows of the one table of the README whose header begins so."""
    lines = (BENCH / "README.md").read_text().splitlines()
    (begin,) = [i for i, line in enumerate(lines) if line.startswith(f"| {header} |")]
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def thousands(value: float) -> str:
    """Three digits that count."""
    digits = 3 - len(str(int(value)))
    return f"{round(value, min(digits, 0)):,.0f}"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def cell_of(row: Any) -> str:
    return str(row["cell"]).replace(",a=1", ", a = 1")


def mixer_of(design: str) -> str:
    return re.split(r"[;(]", design.split(" > ")[1])[0]


def ours_of(cell: Any) -> Any:
    (found,) = [t for t in cell["trainers"] if t["trainer"] == OURS]
    return found


def test_every_file_is_told_of() -> None:
    text = (BENCH / "README.md").read_text()
    for path in BENCH.glob("*.json"):
        assert f"`{path.name}`" in text


@pytest.mark.parametrize(
    ("name", "header"),
    [("training", "cell | tokens/s"), ("training_4096", "cell, 4,096 | tokens/s")],
)
def test_training(name: str, header: str) -> None:
    rows = []
    for cell in measured(name)["cells"]:
        ours = ours_of(cell)
        memory = {t["trainer"]: f"{t['peak_mebibytes']:,.0f}" for t in cell["trainers"]}
        data = ours["phase_milliseconds"]["data"] / ours["step_milliseconds"]
        rows.append(
            [
                cell_of(cell),
                thousands(ours["tokens_per_second"]),
                f"{cell['ratios'][NAIVE]:.1f}x",
                f"{cell['ratios'][LABELLED]:.1f}x",
                percent(cell["step_share"]),
                percent(cell["head_share"]),
                percent(data, 1),
                f"{memory[OURS]}, {memory[LABELLED]}, {memory[NAIVE]}",
            ]
        )
    assert shown(header) == rows


def turns_of_a_mix(cells: list[Any]) -> list[float]:
    """Tokens per second of equal numbers of tokens of each cell, turn by turn."""
    turns = [ours_of(c)["turn_milliseconds"] for c in cells]
    tokens = sum(c["batch_tokens"] for c in cells)
    return [1e3 * tokens / sum(of_cells) for of_cells in zip(*turns, strict=True)]


def with_range(turns: list[float]) -> str:
    """The median, and in brackets the lowest and the highest turn."""
    return f"{statistics.median(turns):.2f} ({min(turns):.2f} to {max(turns):.2f})"


def test_batches() -> None:
    rows = []
    cells = measured("batches")["cells"]
    for design in dict.fromkeys(c["design"] for c in cells):
        mine = [c for c in cells if c["design"] == design]
        sizes = sorted({c["batch_tokens"] for c in mine})
        mixes = [turns_of_a_mix([c for c in mine if c["batch_tokens"] == s]) for s in sizes]
        ratios = [a / b for a, b in zip(mixes[0], mixes[1], strict=True)]
        name = mixer_of(design)
        rows.append(
            [name, *(thousands(statistics.median(mix)) for mix in mixes), with_range(ratios)]
        )
    assert shown("short conv +") == rows


def test_growth() -> None:
    rows = []
    cells = measured("growth")["cells"]
    for short, long in zip(cells[::2], cells[1::2], strict=True):
        assert short["design"] == long["design"]
        a, b = (ours_of(c)["turn_milliseconds"] for c in (short, long))
        rows.append(
            [
                mixer_of(short["design"]),
                *(f"{statistics.median(x):.1f}" for x in (a, b)),
                with_range([y / x for x, y in zip(a, b, strict=True)]),
            ]
        )
    assert shown("linear design") == rows


def test_verdicts() -> None:
    rows = []
    for v in measured("verdict")["verdicts"]:
        rows.append(
            [
                v["design"],
                v["cells"].split()[0],
                f"{sum(r['solved'] for r in v['runs'])} of {v['seeds']}",
                "-" if v["seconds"] is None else f"{v['seconds']:.1f}",
                ", ".join(f"{r['seconds']:.0f}" for r in v["runs"]),
                ", ".join(f"{r['step']:,}" for r in v["runs"]),
                ", ".join(f"{r['worst']:.3f}" for r in v["runs"] if not r["solved"]) or "-",
            ]
        )
    assert shown("design | cells") == rows


@pytest.mark.parametrize(("name", "column"), [("data", 1), ("data_65536", 2)])
def test_generator(name: str, column: int) -> None:
    rows = shown("cell | sequences/s")
    assert [(row[0], row[column]) for row in rows] == [
        (cell_of(c), thousands(c["sequences_per_second"])) for c in measured(name)["cells"]
    ]


def test_scaling() -> None:
    rows = []
    for e in measured("scaling")["executors"]:
        workers = e["workers"]
        name = (
            "serial" if e["executor"] == "serial" else f"Ray, {workers} worker{'s' * (workers > 1)}"
        )
        rows.append(
            [
                name,
                f"{e['runs_per_minute']:.2f}",
                "1" if workers == 1 else f"{e['speedup']:.2f}x",
                percent(e["overhead"], 1),
                percent(e["overhead_without_tail"], 1),
                f"{e['requests_per_second']:,.0f}",
                f"{e['trial_milliseconds']:.0f}",
            ]
        )
    assert shown("executor") == rows


def test_driver() -> None:
    found = measured("driver")["driver"]
    load = found["load"]
    parts = [part["milliseconds"] for part in found["parts"]]
    second = parts[min(1, len(parts) - 1)]
    assert shown("sampler") == [
        [
            load["sampler"],
            f"{load['workers']:,}",
            f"{load['trials']:,}",
            percent(found["idle"], 1),
            f"{min(parts):.0f} to {max(parts):.0f}",
            f"{parts[-1] / second:.2f}x",
            f"{found['peak_bytes'] / 1e9:.2f} GB",
            f"{found['study_bytes'] / 1e6:.0f} MB",
        ]
    ]
    (aim,) = [row for row in shown("aim") if row[0].startswith("1,000 workers")]
    idle, peak, grown = percent(found["idle"], 1), found["peak_bytes"] / 1e9, parts[-1] / second
    assert aim[1].startswith(f"{idle}, {peak:.2f} GB, {grown:.1f}x")
    assert (aim[3] == "met") is (found["idle"] <= 0.05 and peak < 1 and grown <= 3)
    busy = found["load"]["trials"] * found["trial_seconds"]
    whole = 1 - busy / (found["load"]["workers"] * found["virtual_seconds"])
    assert f"it is {percent(whole, 1)} of the whole campaign" in (BENCH / "README.md").read_text()
