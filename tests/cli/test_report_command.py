"""``tvm-mobilenet report``, and its page as a browser shows it."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tuning_folder import KERNELS, NOTE, POINTWISE, TARGET, damage, fill

from tvm_mobilenet.tuning.store import HISTORY
from tvm_mobilenet.tuning.summary import summarize
from tvm_mobilenet.tuning.tuning_report import TuningReport

Run = Callable[..., Any]

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)

# What a reader gets to see; written into the page itself, where --dump-dom finds it.
PROBE = """<script>
addEventListener("load", () => {
  const near = (e, s) => e.closest(s);
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => rgb(c).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return `${c}`;
    }
    return "255,255,255";
  };
  const contrast = e => {
    const style = getComputedStyle(e);
    const ink = e.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(ink), light(paper(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const seen = [...document.querySelectorAll("[data-value]")].map(e => {
    const box = e.getBoundingClientRect();
    return {
      section: near(e, "section").id, workload: near(e, "tr")?.dataset.workload ?? "",
      kind: near(e, "tr")?.dataset.kind ?? "", key: e.dataset.key, value: e.dataset.value,
      text: e.innerText, width: box.width, height: box.height,
    };
  });
  const worded = [...document.querySelectorAll("body *")].filter(
    e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
      && !e.closest("title, script, details") && e.getBoundingClientRect().height);
  const found = {
    seen, title: document.title, wide: document.documentElement.scrollWidth, view: innerWidth,
    loaded: performance.getEntriesByType("resource").length,
    scripts: document.scripts.length - 1,
    cut: [...document.querySelectorAll("td, caption, dd")].filter(e => {
      const box = e.getBoundingClientRect();
      return box.width && (box.right > innerWidth + 1 || e.scrollWidth > e.clientWidth + 1);
    }).map(e => e.outerHTML.slice(0, 200)),
    drawings: [...document.querySelectorAll("svg")].filter(
      e => getComputedStyle(e).display !== "none"
    ).map(e => {
      const outer = e.getBoundingClientRect();
      const marks = [...e.querySelectorAll("path, circle, text")];
      const outside = marks.filter(m => {
        const box = m.getBoundingClientRect();
        return box.left < outer.left - 2 || box.right > outer.right + 2
          || box.top < outer.top - 2 || box.bottom > outer.bottom + 2;
      });
      return {
        id: e.id, height: outer.height, marks: marks.length,
        letters: 12 * outer.width / e.viewBox.baseVal.width,
        outside: outside.map(m => m.outerHTML.slice(0, 200)),
      };
    }),
    words: worded.length,
    pale: worded.filter(e => contrast(e) < 4.5).map(e => e.outerHTML.slice(0, 200)),
    dark: light(paper(document.body)) < 0.2,
  };
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = encodeURIComponent(JSON.stringify(found));
  document.body.append(out);
});
</script>"""


class Page(HTMLParser):
    """Reads texts by where they stand: (section, kernel, key) → (data-value, text)."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.cells: dict[tuple[str, str, str], tuple[str, str]] = {}
        self.elements: dict[str, dict[str, str | None]] = {}
        self._section = self._row = ""
        self._cell: tuple[str, str, str] | None = None
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if "id" in found:
            self.elements[str(found["id"])] = found
        if tag == "section":
            self._section = str(found.get("id"))
        if tag == "tr":
            self._row = found.get("data-workload") or found.get("data-kind") or ""
        if tag == "dl":
            self._row = ""
        if "data-key" in found:
            self._cell = (self._section, self._row, str(found["data-key"]))
            self.cells[self._cell] = (str(found["data-value"]), "")

    def handle_data(self, data: str) -> None:
        if self._cell:
            value, text = self.cells[self._cell]
            self.cells[self._cell] = (value, text + data)

    def handle_endtag(self, tag: str) -> None:
        self._cell = None


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, int], str]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no browser: apt install chromium-headless-shell")
    profile = tmp_path_factory.mktemp("profile")

    def rendered(page: Path, width: int = 1280) -> str:
        done = subprocess.run(
            [
                *(program, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
                *(f"--user-data-dir={profile}", f"--window-size={width},900", page.as_uri()),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout

    return rendered


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs")
    fill(path, 1)
    fill(path, 2)
    damage(path)
    return path


@pytest.fixture(scope="module")
def page(run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    done = run("report", folder, "-o", path)
    assert done.returncode == 0, done.stderr
    assert f"written: {path}" in done.stderr
    assert done.stderr.count("; skipped") == 6
    assert f"for {TARGET}, 2 threads: " in done.stdout
    assert "60 trials, 9 failed" in done.stdout
    return path


def check_section(
    section: TuningReport, name: str, cells: dict[tuple[str, str, str], tuple[str, str]]
) -> None:
    """Compare what stands in a section with the log."""

    def number(key: str, row: str = "") -> float:
        return float(cells[name, row, key][0])

    def shown(key: str, row: str = "") -> str:
        return cells[name, row, key][1]

    assert number("rule_s") == section.rule_s
    assert shown("rule_s").startswith(f"{section.rule_s * 1e3:.3f} ms")
    assert shown("best_s").startswith(f"{section.best_s * 1e3:.3f} ms")
    assert shown("bound_s").startswith(f"{section.bound_s * 1e3:.3f} ms")
    assert shown("gain").startswith(f"{1 - section.best_s / section.rule_s:.1%}")
    assert (number("trials"), number("failed")) == (60, 9)
    assert number("seen_s") == min(step.best_s for step in section.steps)
    for workload, (calls, _, _, seconds) in KERNELS.items():
        assert number("calls", workload) == calls
        assert number("rule_s", workload) == pytest.approx(seconds / section.threads, rel=0.02)
        assert shown("rule_s", workload) == f"{number('rule_s', workload) * 1e6:.2f}"
        assert shown("best_s", workload) == f"{number('best_s', workload) * 1e6:.2f}"
    assert number("best_s", POINTWISE) == 6.5e-6 / section.threads
    assert shown("gain", POINTWISE) == "7.1%"
    rows = sum(number("trials", workload) for workload in KERNELS)
    assert rows == 60
    for kind, count in section.failures.items():
        assert shown("count", kind) == str(count)
    assert sum(section.failures.values()) == 9


def test_the_browser_shows_the_log(page: Path, folder: Path, browser: Any) -> None:
    dom = Page(browser(page))
    summary = summarize(folder)
    assert len(summary.reports) == 2
    for number, section in enumerate(summary.reports, 1):
        assert dom.elements[f"s{number}"]["data-threads"] == str(section.threads)
        check_section(section, f"s{number}", dom.cells)
    assert {"damaged", "damaged-note"} <= set(dom.elements)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_a_reader_can_read_it(
    page: Path, browser: Any, tmp_path: Path, dark: bool, width: int
) -> None:
    """Numbers have a place, drawings stay inside theirs, words stand out, nothing is loaded."""
    html = page.read_text()
    assert POLICY in html
    probed = html.replace(POLICY, PROBE)
    # The browser's own preference cannot be set from its command line.
    probed = probed.replace("(prefers-color-scheme: dark)", "all" if dark else "not all")
    copy = tmp_path / "probed.html"
    copy.write_text(probed)
    dom = browser(copy, width)
    text = dom.partition('<pre id="probe">')[2].partition("</pre>")[0]
    found = json.loads(urllib.parse.unquote(text))
    assert found["dark"] is dark
    assert len(found["seen"]) > 50
    assert [one for one in found["seen"] if not (one["width"] and one["height"])] == []
    assert found["wide"] <= found["view"] == width
    assert found["cut"] == []
    assert found["loaded"] == found["scripts"] == 0
    assert found["title"].startswith("Tuning report")
    drawings = {one["id"]: one for one in found["drawings"]}
    phone = "-narrow" if width < 640 else ""
    names = ("s1-curve", "s1-roofline", "s2-curve", "s2-roofline")
    assert set(drawings) == {f"{name}{phone}" for name in names}
    for one in drawings.values():
        assert one["marks"] > 15
        assert one["height"] > 100
        assert one["letters"] > 10  # pixels
        assert one["outside"] == []
    assert found["words"] > 100
    # WCAG 2.1, 1.4.3: what normal text needs.
    assert found["pale"] == []


def test_other_peoples_words_stay_words(page: Path) -> None:
    html = page.read_text()
    assert NOTE not in html
    assert "&lt;script&gt;document.title" in html
    assert "a desk, &lt;fast&gt;" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html


def test_a_run_that_has_finished_nothing(run: Run, tmp_path: Path, browser: Any) -> None:
    (tmp_path / HISTORY).write_text('{"version": 1, "kind": "trial", "oper')
    made = run("report", tmp_path, "-o", tmp_path / "page.html")
    assert made.returncode == 0, made.stderr
    assert "line 1: the line is no JSON; skipped" in made.stderr
    dom = Page(browser(tmp_path / "page.html"))
    assert "empty" in dom.elements
    assert dom.cells == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{}/none",), "there is no folder"),
        (("{}",), "nothing was tuned there"),
        (("{}/log", "-o", "{}/none/page.html"), "cannot write"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / HISTORY).touch()
    failed = run("report", *(argument.format(tmp_path) for argument in arguments))
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
