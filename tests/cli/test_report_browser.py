"""The page in a browser: it renders, complains of nothing, answers to mouse and keyboard."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import archsearch
from archsearch.campaign.reading import Reading
from archsearch.records import Evaluation
from archsearch.report import page_of
from archsearch.report.facts import facts_of
from tests.conftest import OLDER, PUBLISHED

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# the gate installs one, and fails without
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="needs chromium, which the gate has"
)

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--remote-debugging-pipe",
    "--window-size=1100,900",
)


class Browser:
    """A headless Chromium, spoken to over two pipes in its own protocol."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._errors = (profile.parent / "chromium.log").open("wb")
        # it wants its pipes as 3 and 4, wherever ours happen to be
        os.dup2(commands, 203)
        os.dup2(answers, 204)
        self._process = subprocess.Popen(
            ["bash", "-c", 'exec "$0" "$@" 3<&203 4>&204', CHROMIUM, *OPTIONS,
             f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(203, 204), stderr=self._errors,
        )  # fmt: skip
        for handle in (commands, answers, 203, 204):
            os.close(handle)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        text, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(text)
        return found

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.as_uri())
        self.run(
            "new Promise((go) => { const look = () => document.body?.dataset.ready"
            " ? go(true) : setTimeout(look, 20); look(); })"
        )

    def run(self, script: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def mouse(self, x: float, y: float, *kinds: str) -> None:
        for kind in kinds:
            clicks = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **clicks)

    def key(self, name: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    @property
    def complaints(self) -> list[str]:
        """What the console was told, refusals of the page's own policy included."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(e["params"]) for e in self.events if e.get("method") in kinds]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path / "profile")
    yield made
    made.close()


@pytest.mark.parametrize("folder", [PUBLISHED, OLDER], ids=lambda p: p.name)
def test_a_recorded_campaign_in_a_browser(folder: Path, browser: Browser, tmp_path: Path) -> None:
    reading = archsearch.open_campaign(folder)
    path = tmp_path / "report.html"
    path.write_text(page_of(reading))
    browser.open(path)
    front = reading.front
    trained = [row for row in front.references if row.outcome.was_trained]

    def count(selector: str) -> int:
        return int(browser.run(f"document.querySelectorAll({json.dumps(selector)}).length"))

    assert count("circle.member[data-number]") == len(front.members)
    assert count("path.reference") == len(trained)
    assert count("circle.dominated") == len(front.dominated)
    known = [row for row in (*front.members, *trained) if row.low is not None]
    assert count("main > section:first-of-type path.interval") == len(known)
    # on the line, which rises where they are
    assert count("path.interval ~ path.step.faint") == 0
    assert count("table#members tbody tr") == len(front.members) + len(trained)
    assert "display: none" not in browser.run("document.querySelector('main').outerHTML")
    heading = "document.querySelector('#details h2').textContent"
    assert browser.run(heading) == f"Details: trial {front.knee}"

    chosen = next(m for m in front.members if m.number != front.knee)
    at = browser.run(
        f"(() => {{ const c = document.querySelector('circle[data-number=\"{chosen.number}\"]');"
        " c.scrollIntoView({block: 'center'}); const b = c.getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    browser.mouse(*at, "mouseMoved")
    tip = browser.run("document.getElementById('tip').innerText")
    assert f"trial {chosen.number}: {chosen.design}" in tip
    assert f"accuracy {chosen.accuracy:.3f}" in tip
    browser.mouse(*at, "mousePressed", "mouseReleased")
    assert browser.run(heading) == f"Details: trial {chosen.number}"
    # by the keyboard alone
    browser.run(f"document.querySelector('circle[data-number=\"{front.knee}\"]').focus()")
    browser.key("Enter")
    assert browser.run(heading) == f"Details: trial {front.knee}"
    assert browser.complaints == []


def test_windows_of_rates_are_drawn(browser: Browser, race: Reading, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page_of(race))
    browser.open(path)
    details = facts_of(race)["details"].values()
    for selector, expected in (
        ("circle.rate", sum(len(one["runs"]) for one in details)),
        ("circle.rate.scored", len(details)),
        ("line.window", sum(one["window"] is not None for one in details)),
    ):
        found = browser.run(f"document.querySelectorAll({json.dumps(selector)}).length")
        assert found == expected > 0
    assert browser.complaints == []


def test_a_rate_is_judged_where_something_was_learned_by_the_first_rung(
    browser: Browser, race: Reading, tmp_path: Path
) -> None:
    knee = next(record for record in race.records if record.number == race.front.knee)
    late = knee.model_copy(
        update={"evaluations": tuple(_learned_late(run) for run in knee.evaluations)}
    )
    rate = "[...document.querySelectorAll('#details dt')].find((t) => /rates/.test(t.innerText))"
    for record, expected in (
        (knee, "1.0 decades"),
        (late, "not judged: nothing was learned by then"),
    ):
        records = [record if r.number == record.number else r for r in race.records]
        path = tmp_path / "report.html"
        path.write_text(page_of(dataclasses.replace(race, records=records)))
        browser.open(path)
        assert browser.run(f"{rate}.innerText") == "learning rates ahead at step 50"
        assert browser.run(f"{rate}.nextSibling.innerText") == expected
    assert "ahead at step 50" in browser.run("document.querySelector('main').innerText")


def _learned_late(run: Evaluation) -> Evaluation:
    first, *rest = run.curve
    nothing = first.model_copy(update={"log_probability": (-9.0,) * len(first.log_probability)})
    return run.model_copy(update={"curve": (nothing, *rest)})


def test_names_of_cells_are_no_points_of_the_curve(browser: Browser, tmp_path: Path) -> None:
    """They stand above all of its marks, inside the picture."""
    path = tmp_path / "report.html"
    reading = archsearch.open_campaign(PUBLISHED)
    path.write_text(page_of(reading))
    browser.open(path)
    names, highest, lowest, edge = browser.run(
        "(() => { const svg = document.querySelectorAll('#details svg')[1];"
        " const box = (node) => node.getBoundingClientRect();"
        " const texts = [...svg.querySelectorAll('text')];"
        " const names = texts.filter((t) => t.textContent.startsWith('('));"
        " return [names.map((t) => t.textContent),"
        " Math.min(...[...svg.querySelectorAll('circle')].map((c) => box(c).top)),"
        " Math.max(...names.map((t) => box(t).bottom)),"
        " Math.min(...names.map((t) => box(t).top)) - box(svg).top]; })()"
    )
    assert sorted(names) == sorted(str(cell) for cell in reading.campaign.file.task.test_cells)
    assert lowest <= highest
    assert edge >= 0


TEXTS_THAT_MEET = """
[...document.querySelectorAll("svg")].flatMap((chart) => {
  const texts = [...chart.querySelectorAll("text")]
    .map((t) => [t.textContent, t.getBoundingClientRect()]);
  return texts.flatMap(([word, a], i) => texts.slice(i + 1)
    .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
    .map(([other]) => `${word} on ${other}`));
})
"""


def test_texts_of_a_chart_do_not_lie_on_one_another(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page_of(archsearch.open_campaign(PUBLISHED)))
    browser.open(path)
    for button in range(int(browser.run("document.querySelectorAll('#members button').length"))):
        browser.run(f"document.querySelectorAll('#members button')[{button}].click()")
        assert browser.run(TEXTS_THAT_MEET) == []


def test_the_design_of_a_member_is_in_sight(browser: Browser, tmp_path: Path) -> None:
    """At the width of a laptop's window: a table that scrolls would hide its last column."""
    path = tmp_path / "report.html"
    path.write_text(page_of(archsearch.open_campaign(PUBLISHED)))
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=1280,
        height=800,
        deviceScaleFactor=1,
        mobile=False,
    )
    browser.open(path)
    last = "document.querySelector('#members td:last-child').getBoundingClientRect()"
    frame = "document.querySelector('#members').parentElement.getBoundingClientRect()"
    assert browser.run(f"{last}.right <= {frame}.right + 1")


def test_complaints_are_heard(browser: Browser, tmp_path: Path) -> None:
    """The guard of the test above: a page that throws, and one that asks for something."""
    page = page_of(archsearch.open_campaign(PUBLISHED))
    path = tmp_path / "report.html"
    path.write_text(page.replace("<main></main>", '<main></main><img src="nothing.png">'))
    browser.open(path)
    assert any("Content Security Policy" in text for text in browser.complaints)
