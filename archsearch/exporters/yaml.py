"""YAML, to read and to edit."""

from __future__ import annotations

import yaml

from archsearch.exporters.base import ArchitectureFile, Exporter


def _render(file: ArchitectureFile) -> str:
    price = file.price
    head = [f"# {file.architecture}"]
    if price is not None:
        head.append(
            f"# {price.flops / 1e6:.1f} MFLOPs at N = {price.n_max}, growth {price.growth_text},"
            f" {price.params} parameters (without embedding and head)"
        )
    body = yaml.safe_dump(file.plain(), sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(head) + "\n" + body


EXPORTER = Exporter(".yaml", _render)
