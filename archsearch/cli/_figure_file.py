"""Files with figures: which can be written, known before anything is drawn, and how."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.cli._out_file import check_file, write_file
from archsearch.errors import InputError, suggestion

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

# told apart by people who do not see red or green
COLORS = ("#0b5fa5", "#b8510d", "#6a3d9a", "#3f3f46", "#0f766e", "#a16207")
FAINT = "#9aa0a6"

SUFFIXES = (".png", ".svg", ".pdf")

COLUMN = 3.3
"""Inches of a paper's column."""


def check_path(path: Path) -> None:
    """Refuses what could not be written, before anything is computed.

    Raises:
        InputError: The suffix is not known, or there is no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: got suffix '{path.suffix}'; must be one of {', '.join(SUFFIXES)}"
            f"{suggestion(path.suffix.lower(), SUFFIXES)}"
        )
    check_file(path)


def literal(text: str) -> str:
    """The text as matplotlib has to be given it, so that nothing in it is a formula."""
    return text.replace("$", r"\$")


@contextmanager
def figure_file(
    *paths: Path, inches: tuple[float, float], font: float = 9
) -> Iterator[tuple[Figure, FigureCanvasAgg]]:
    """A figure to draw in and its canvas; written when the block ends without an error.

    Args:
        paths: Each suffix chooses a format; all are such that ``check_path`` lets them pass.
        inches: Width and height.
        font: Size of the letters, in points.

    Raises:
        StoreError: A file cannot be written.
    """
    import matplotlib as mpl

    # never pyplot: no window system, and no figure left open
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False}
    # equal contents give equal files: no date, no random ids; and letters that publishers take
    style |= {"font.size": font, "svg.hashsalt": "archsearch", "pdf.fonttype": 42}
    with mpl.rc_context(style):
        # many dots, so that a picture of one column is sharp in print
        dots = 150 if inches[0] > COLUMN else 300
        figure = Figure(figsize=inches, dpi=dots, layout="constrained")
        # what is placed by pixels is placed by those of this canvas, whatever the format
        yield figure, FigureCanvasAgg(figure)
        for path in paths:
            _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    data = io.BytesIO()
    figure.savefig(data, format=kind, metadata=metadata.get(kind))
    write_file(path, data.getvalue())
