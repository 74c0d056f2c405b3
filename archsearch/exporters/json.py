"""JSON, for other programs."""

from __future__ import annotations

import json

from archsearch.exporters.base import ArchitectureFile, Exporter, verify_description


def _render(file: ArchitectureFile) -> str:
    return json.dumps(file.plain(), indent=2, allow_nan=False) + "\n"


EXPORTER = Exporter(".json", _render, verify_description)
