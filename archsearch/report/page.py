"""The page: facts, style and script in one file that asks for nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib.resources import files
from typing import Any

from archsearch._version import __version__
from archsearch.campaign.reading import Reading
from archsearch.report.facts import facts_of

_SCRIPTS = ("chart.js", "page.js")


def page_of(reading: Reading) -> str:
    """A campaign as HTML.

    Names and messages from files are data: nothing of them is ever read as markup or script, and
    the page's own policy allows no other script than this one, and no request.
    """
    facts = facts_of(reading)
    about = facts["about"]
    title = about["title"] or about["name"]
    script = "\n".join(_asset(name) for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>\n"
        f"<p>{escape(about['name'])}: accuracy of recall against cost. Study"
        f" {escape(about['study'])}.</p></header>\n<main></main>\n"
        f"<footer>Made by archsearch {escape(__version__)}.</footer>\n"
        f'<script type="application/json" id="facts">{_embedded(facts)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (files("archsearch.report") / name).read_text(encoding="utf-8")


def _embedded(data: Any) -> str:
    """JSON that cannot end the element it stands in: in a script only ``<`` begins anything.

    Designs are full of ``>``, which is left as it is.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
