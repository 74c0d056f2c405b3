"""``report --static``: the charts as files for papers, whose texts hide nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import archsearch
from archsearch.campaign.reading import Reading
from archsearch.cli import _figure_file, _out_file, _static
from archsearch.cli._static import formats_of, write_figures
from archsearch.errors import InputError
from tests.conftest import OLDER, PUBLISHED

from .conftest import Ran

Cli = Callable[..., Ran]
MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
FIGURES = {"front", "hypervolume", "curves", "capacity", "parallel"}


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_figure_in_every_format(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    folder = tmp_path / "to" / "figures"
    ran = cli("report", campaign, "--static", folder)
    assert (ran.code, ran.err) == (0, "")
    expected = {f"{name}.{kind}" for name in FIGURES for kind in MAGIC}
    assert written(folder) == expected
    assert {Path(line) for line in ran.out.splitlines()} == set(folder.iterdir())
    for path in folder.iterdir():
        assert path.read_bytes().startswith(MAGIC[path.suffix[1:]])
    assert not (campaign / "report.html").exists()


def test_chosen_formats_are_the_same_each_time(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert (
            cli("report", campaign, "--static", tmp_path / name, "--formats", "svg, PDF").code == 0
        )
    assert written(tmp_path / "a") == {f"{n}.{k}" for n in FIGURES for k in ("svg", "pdf")}
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--static", "F", "--formats", "gif"],
            "--formats: got 'gif'; must be some of png,svg,pdf",
        ),
        (["--static", "F", "--formats", "pgn"], "did you mean 'png'?"),
        (["--static", "F", "--formats", ","], "--formats: got ''; must be some of"),
        (["--static", "F", "--out", "a.html"], "give one"),
        (["--formats", "png"], "give --static FOLDER, too"),
    ],
)
def test_bad_options(cli: Cli, campaign: Path, options: list[str], message: str) -> None:
    ran = cli("report", campaign, *options)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert message in ran.err
    assert not Path("F").exists()


def test_a_folder_that_is_a_file(cli: Cli, campaign: Path, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    ran = cli("report", campaign, "--static", tmp_path / "f")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "is a file; give a folder" in ran.err


def test_a_file_is_there_whole_or_not_at_all(
    campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = archsearch.open_campaign(campaign)
    write_figures(reading, tmp_path, ("png",))
    before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_out_file, "write_atomically", full)
    with pytest.raises(archsearch.errors.StoreError, match="No space left"):
        write_figures(reading, tmp_path, ("png",))
    assert {path: path.read_bytes() for path in tmp_path.glob("*.png")} == before


def test_a_campaign_without_trials(empty_campaign: Path, tmp_path: Path) -> None:
    write_figures(archsearch.open_campaign(empty_campaign), tmp_path / "f", ("png",))
    assert written(tmp_path / "f") == {"front.png"}


def test_rates_are_drawn_where_designs_raced(race: Reading, tmp_path: Path) -> None:
    write_figures(race, tmp_path / "f", ("png",))
    assert written(tmp_path / "f") == {f"{name}.png" for name in {*FIGURES, "rates"}}


def shown_texts(figure: Figure) -> list[Text]:
    """Texts that are drawn: of ticks, only those within the axes' limits."""
    ticks, drawn = [], []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                ticks += [tick.label1, tick.label2]
                if low <= tick.get_loc() <= high and axes.get_visible() and axes.axison:
                    drawn.append(tick.label1)
    others = [text for text in figure.findobj(Text) if text not in ticks]
    hidden = {axes.title for axes in figure.axes if not axes.get_visible()}
    hidden |= {a.label for x in figure.axes if not x.axison for a in (x.xaxis, x.yaxis)}
    texts = [*drawn, *(text for text in others if text not in hidden)]
    return [text for text in texts if text.get_text().strip() and text.get_visible()]


@pytest.mark.parametrize("which", ["published", "older", "race"])
def test_texts_overlap_neither_each_other_nor_the_border(
    which: str, race: Reading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"published": PUBLISHED, "older": OLDER}
    reading = archsearch.open_campaign(folders[which]) if which in folders else race
    drawn: list[str] = []

    def look(figure: Figure, path: Path) -> None:
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        figure.draw(renderer)
        boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in shown_texts(figure)]
        assert len(boxes) > 5
        for (a, one), (b, other) in combinations(boxes, 2):
            assert not one.padded(-0.5).overlaps(other.padded(-0.5)), f"{path.name}: '{a}', '{b}'"
        for text, box in boxes:
            inside = figure.bbox.padded(1)
            assert inside.x0 <= box.x0, f"{path.name}: '{text}'"
            assert box.x1 <= inside.x1, f"{path.name}: '{text}'"
            assert inside.y0 <= box.y0, f"{path.name}: '{text}'"
            assert box.y1 <= inside.y1, f"{path.name}: '{text}'"
        drawn.append(path.stem)

    monkeypatch.setattr(_figure_file, "_save", look)
    write_figures(reading, tmp_path / "f", ("png",))
    assert set(drawn) == (FIGURES if which == "older" else {*FIGURES, "rates"})


def test_windows_are_where_rates_were_ahead(race: Reading) -> None:
    """Of 1e-3, 3e-3 and 1e-2 the last learned nothing."""
    facts = _static.facts_of(race)
    assert facts["about"]["training"]["first_rung"] == 50
    for member in race.front.members:
        low, high = facts["details"][str(member.number)]["window"]
        assert low < 1e-3 < 3e-3 < high < 1e-2
        figure = Figure()
        _static._draw_rates(figure, facts)
        (axes,) = figure.axes
        assert isinstance(axes, Axes)
        bars = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 2]
        assert any(tuple(bar) == (low, high) for bar in bars)
        assert "bar: ahead at step 50;" in figure.get_supxlabel()


def test_formats_keep_their_order() -> None:
    assert formats_of("pdf,PNG,pdf") == ("pdf", "png")
    with pytest.raises(InputError):
        formats_of("")
