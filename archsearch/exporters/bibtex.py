"""BibTeX: the papers that a design's mixers and its task are from."""

from __future__ import annotations

import re
from pathlib import Path

from archsearch.canonical import readable
from archsearch.errors import StoreError
from archsearch.exporters._code import mixers_of
from archsearch.exporters._papers import PAPERS, TASK, Paper
from archsearch.exporters.base import ArchitectureFile, Exporter


def papers_of(file: ArchitectureFile) -> dict[str, list[str]]:
    """What each paper is needed for, by its arXiv identifier: the task, then the mixers."""
    found = {TASK: ["the task, MQAR"]}
    for name, spec in mixers_of(file.architecture).items():
        if spec.citation.arxiv is not None:
            where = f" ({spec.citation.where})" if spec.citation.where else ""
            found.setdefault(spec.citation.arxiv, []).append(name + where)
    return found


def _escaped(text: str) -> str:
    """Plain text, for LaTeX to set."""
    return re.sub(r"[_&%#$]", r"\\\g<0>", text)


def _entry(arxiv: str, paper: Paper, uses: list[str]) -> str:
    return (
        f"@misc{{{paper.key},\n"
        f"  author = {{{paper.authors}}},\n"
        f"  title = {{{paper.title}}},\n"
        f"  year = {{{paper.year}}},\n"
        f"  eprint = {{{arxiv}}},\n"
        "  archiveprefix = {arXiv},\n"
        f"  note = {{Here: {_escaped('; '.join(uses))}}},\n"
        "}\n"
    )


def _render(file: ArchitectureFile) -> str:
    entries = [_entry(arxiv, PAPERS[arxiv], uses) for arxiv, uses in papers_of(file).items()]
    return f"% {readable(file.architecture)}\n\n" + "\n".join(entries)


def _verify(path: Path, file: ArchitectureFile, ours: bytes | None = None) -> None:
    text = path.read_text(encoding="utf-8")
    missing = [arxiv for arxiv in papers_of(file) if f"eprint = {{{arxiv}}}" not in text]
    if missing:
        raise StoreError(f"{path}: lacks arXiv {', '.join(missing)}")


EXPORTER = Exporter(".bib", _render, _verify)
