"""YAML, to read and to edit."""

from __future__ import annotations

import re

import yaml

from archsearch.canonical import readable
from archsearch.exporters.base import ArchitectureFile, Exporter, verify_description

_WORDS = ("y", "yes", "n", "no", "on", "off", "true", "false", "null", "nan", "inf")


class _Dumper(yaml.SafeDumper):
    """Quotes what readers of YAML disagree about, such as the digest 1234e56789012345."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    clear = re.fullmatch(r"[A-Za-z_/][A-Za-z0-9_ ()/.-]*", text) and text.lower() not in _WORDS
    style = None if clear else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _render(file: ArchitectureFile) -> str:
    price = file.price
    head = [f"# {readable(file.architecture)}"]
    if price is not None:
        head.append(
            f"# {price.flops / 1e6:.1f} MFLOPs at N = {price.n_max}, growth {price.growth_text},"
            f" {price.params} parameters (without embedding and head)"
        )
    body = yaml.dump(file.plain(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(head) + "\n" + body


EXPORTER = Exporter(".yaml", _render, verify_description)
