"""The bibliography of a design."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archsearch.architecture import Block, Component
from archsearch.errors import StoreError
from archsearch.exporters import bibtex, exporters
from archsearch.exporters._papers import PAPERS
from archsearch.mixers import specs
from archsearch.presets import presets

from .test_pytorch import described

EXPORTER = exporters.get("bibtex")


def test_every_paper_that_is_cited_is_known() -> None:
    cited = {specs.get(name).citation.arxiv for name in specs}
    cited |= {presets.get(name).citation.arxiv for name in presets}
    assert cited - {None} == PAPERS.keys()
    keys = [paper.key for paper in PAPERS.values()]
    assert len(set(keys)) == len(keys)
    for arxiv, paper in PAPERS.items():
        # identifiers begin with year and month
        assert f"{paper.year % 100:02d}" == arxiv[:2]
        assert str(paper.year) in paper.key
        assert paper.title.count("{") == paper.title.count("}")


def test_each_paper_is_named_once_with_what_it_is_for(tmp_path: Path) -> None:
    file = described(
        Block(sequence=Component(name="short_conv"), channel=Component(name="swiglu")),
        Block(sequence=Component(name="sliding_window"), parallel=Component(name="based")),
    )
    text = EXPORTER.render(file)
    assert text.startswith("% d16: short_conv+swiglu > ")
    assert re.findall(r"^@misc\{(\w+),$", text, re.MULTILINE) == [
        "arora2023zoology", "shazeer2020glu", "arora2024based", "beltagy2020longformer",
    ]  # fmt: skip
    assert r"note = {Here: the task, MQAR; short\_conv (section 4)}" in text
    assert bibtex._escaped("_ & % # $ {a}") == r"\_ \& \% \# \$ {a}"
    assert all(text.count(f"{{{key}") == 1 for key in ("2312.04927", "2402.18668"))
    path = tmp_path / "d.bib"
    path.write_text(text)
    EXPORTER.verify(path, file)
    path.write_text(text.replace("2402.18668", ""))
    with pytest.raises(StoreError, match=r"lacks arXiv 2402\.18668"):
        EXPORTER.verify(path, file)
