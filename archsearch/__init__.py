"""Search convolution/attention hybrids that recall like full attention at a sub-quadratic price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archsearch._version import __version__

if TYPE_CHECKING:
    from archsearch.campaign.reading import read as open_campaign
    from archsearch.exporters import load

__all__ = ["__version__", "load", "open_campaign"]


def __getattr__(name: str) -> Any:
    # torch is imported on the first use of `load`, not with the package
    if name == "load":
        from archsearch.exporters import load

        return load
    if name == "open_campaign":
        from archsearch.campaign.reading import read

        return read
    raise AttributeError(f"module 'archsearch' has no attribute '{name}'")
