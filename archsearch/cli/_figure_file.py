"""Files with figures: which can be written, known before anything is drawn, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import InputError, StoreError, suggestion

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

# told apart by people who do not see red or green
COLORS = ("#0b5fa5", "#b8510d", "#6a3d9a", "#3f3f46", "#0f766e", "#a16207")
FAINT = "#9aa0a6"

SUFFIXES = (".png", ".svg", ".pdf")


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
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder '{path.parent}'; make it first")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")


@contextmanager
def figure_file(
    path: Path, *, inches: tuple[float, float]
) -> Iterator[tuple[Figure, FigureCanvasAgg]]:
    """A figure to draw in and its canvas; written when the block ends without an error.

    Args:
        path: Its suffix chooses the format; one that ``check_path`` lets pass.
        inches: Width and height.

    Raises:
        StoreError: The file cannot be written.
    """
    import matplotlib as mpl

    # never pyplot: no window system, and no figure left open
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    # equal contents give equal files: no date, no random ids
    with mpl.rc_context(style | {"svg.hashsalt": "archsearch"}):
        figure = Figure(figsize=inches, dpi=150, layout="constrained")
        # what is placed by pixels is placed by those of this canvas, whatever the format
        yield figure, FigureCanvasAgg(figure)
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        try:
            figure.savefig(path, metadata=metadata.get(path.suffix.lower()))
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
