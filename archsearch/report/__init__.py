"""A campaign as one self-contained HTML page."""

from __future__ import annotations

from archsearch.report.page import page_of

__all__ = ["page_of"]
