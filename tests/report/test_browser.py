"""The report in a browser: pictures load, the divider moves, the keyboard reaches everything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from headworks.web.browser import Browser, find_chromium
from stages.report.changes import changed_numbers, changes_html
from stages.report.costs import Cost, with_costs
from stages.report.lineage import lineage_html
from stages.report.places import CHANGES, PROVENANCE, fill
from tests.report.conftest import PAGES, PERSON
from tests.report.test_published import AFTER, BEFORE, NODES

SPEAKER = PERSON["speaker"]
KEYS = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "End": 35, "Home": 36}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("no Chromium on the path; set HEADWORKS_CHROMIUM to its program")
    with Browser(1280, 900) as started:
        yield started


@pytest.fixture(scope="module")
def published(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the report with its places filled."""
    report = shutil.copytree(report, tmp_path_factory.mktemp("published") / "reports")
    first = report / "index.html"
    changes = {
        "since": "2026-01-02 03:04 UTC", "added": ["speaker"], "removed": [], "causes": [],
        "numbers": changed_numbers(BEFORE, AFTER),
    }  # fmt: skip
    html = fill(first.read_text(), CHANGES, changes_html(changes, PERSON))
    long = [Cost(f"stage_{k}", f"somebody_{n}", 100.0) for k in range(14) for n in range(3)]
    first.write_text(with_costs(html, long))
    page = report / SPEAKER
    page.write_text(fill(page.read_text(), PROVENANCE, lineage_html("speaker", NODES)))
    return report


def press(browser: Browser, key: str) -> None:
    code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
    text = {"text": "\r"} if key == "Enter" else {}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **code)


def mouse(browser: Browser, kind: str, x: float, y: float) -> None:
    browser.call(
        "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_every_picture_and_film_loads_and_nothing_complains(
    published: Path, browser: Browser, width: int
) -> None:
    browser.resize(width, 900, 1.0, width < 600)
    for name in PAGES:
        browser.problems.clear()
        browser.requests.clear()
        browser.open(published / name)
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        broken = browser.run(
            "(async () => { const bad = []; for (const i of document.images) {"
            " i.loading = 'eager'; try { await i.decode() } catch { bad.push(i.src) }"
            " if (!i.naturalWidth) bad.push(i.src) }"
            " for (const v of document.querySelectorAll('video')) {"
            " for (let k = 0; k < 100 && v.readyState < 1 && !v.error; k++)"
            "  await new Promise(r => setTimeout(r, 50));"
            " if (v.error || v.readyState < 1) bad.push(v.src) } return bad })()"
        )
        assert broken == [], name
        assert browser.problems == [], name
        assert all(address.startswith("file:") for address in browser.requests)


@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_no_page_scrolls_sideways(published: Path, browser: Browser, width: int) -> None:
    browser.resize(width, 900, 1.0, width < 600)
    for name in PAGES:
        browser.open(published / name)
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.run("document.documentElement.scrollWidth") <= width, name


def state(browser: Browser) -> float:
    return float(
        browser.run("parseFloat(document.querySelector('.pair').style.getPropertyValue('--at'))")
    )


def test_the_divider_follows_the_pointer(published: Path, browser: Browser) -> None:
    browser.resize(1280, 900)
    browser.open(published / SPEAKER)
    assert state(browser) == 50
    browser.run("document.querySelector('.pair').scrollIntoView({block: 'center'})")
    x, y, width = browser.run(
        "(() => { const b = document.querySelector('.pair img').getBoundingClientRect();"
        " return [b.x, b.y + b.height / 2, b.width] })()"
    )
    mouse(browser, "mousePressed", x + 0.5 * width, y)
    mouse(browser, "mouseMoved", x + 0.2 * width, y)
    mouse(browser, "mouseReleased", x + 0.2 * width, y)
    assert state(browser) == pytest.approx(20, abs=1)
    clip = browser.run("getComputedStyle(document.querySelectorAll('.pair img')[1]).clipPath")
    assert clip.startswith("inset(0px 0px 0px 2")
    mouse(browser, "mouseMoved", x + 0.9 * width, y)
    assert state(browser) == pytest.approx(20, abs=1), "moves while pressed only"


def test_the_divider_follows_a_finger(published: Path, browser: Browser) -> None:
    browser.resize(390, 800, 2.0, True)
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        browser.open(published / SPEAKER)
        browser.run("document.querySelector('.pair').scrollIntoView({block: 'center'})")
        x, y, width = browser.run(
            "(() => { const b = document.querySelector('.pair img').getBoundingClientRect();"
            " return [b.x, b.y + b.height / 2, b.width] })()"
        )

        def touch(kind: str, *at: float) -> None:
            points = [{"x": x + width * at[0], "y": y}] if at else []
            browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

        touch("touchStart", 0.5)
        touch("touchMove", 0.65)
        touch("touchMove", 0.8)
        touch("touchEnd")
        assert state(browser) == pytest.approx(80, abs=3)
    finally:
        browser.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_the_divider_is_reached_and_moved_by_keys(published: Path, browser: Browser) -> None:
    browser.resize(1280, 900)
    browser.open(published / SPEAKER)
    for _ in range(30):
        press(browser, "Tab")
        if browser.run("document.activeElement.type === 'range'"):
            break
    assert browser.run("document.activeElement.type") == "range"
    assert "divider" in browser.run("document.activeElement.getAttribute('aria-label')")
    before = state(browser)
    press(browser, "ArrowRight")
    press(browser, "ArrowRight")
    assert state(browser) == before + 2
    press(browser, "ArrowLeft")
    assert state(browser) == before + 1
    press(browser, "End")
    assert state(browser) == 100
    told = browser.run("document.activeElement.getAttribute('aria-valuetext')")
    assert told == "100 % ground truth"
    ring = browser.run("getComputedStyle(document.querySelector('.pair')).outlineWidth")
    assert ring == "3px", "the divider shows that it has the focus"


def test_the_truth_is_compared_with_any_method(published: Path, browser: Browser) -> None:
    browser.resize(1280, 900)
    browser.open(published / SPEAKER)
    label, second = "document.querySelector('.frame')", "document.querySelectorAll('.pair img')[1]"
    names = browser.run(f"[...{label}.querySelectorAll('label')].map(l => l.textContent.trim())")
    assert names == ["avatar", "nearest frame", "textured mesh"]
    first = browser.run(f"{second}.getAttribute('src')")
    browser.run(f"{label}.querySelector('input[type=radio]').focus()")
    press(browser, "ArrowRight")
    press(browser, "ArrowRight")
    assert browser.run(f"{second}.getAttribute('src')") != first
    assert "textured_mesh" in browser.run(f"{second}.getAttribute('src')")
    assert browser.run(f"{second}.alt").startswith("textured mesh")
    slider = "document.querySelector('.pair input').getAttribute('aria-label')"
    assert browser.run(slider).endswith("ground truth and textured mesh")


def test_the_keyboard_reaches_links_regions_and_the_lineage(
    published: Path, browser: Browser
) -> None:
    browser.resize(1280, 900)
    browser.open(published / SPEAKER)
    wanted = browser.run(
        "[...document.querySelectorAll('a[href], input[type=range], summary, video[controls],"
        ' [tabindex="0"]\')].length'
    )
    browser.run(
        "window.seen = new Set(); document.addEventListener('focusin', e => seen.add(e.target))"
    )
    for _ in range(4 * wanted + 40):
        press(browser, "Tab")
        if browser.run("document.activeElement === document.body"):
            break
    reached = browser.run(
        "[...document.querySelectorAll('a[href], input[type=range], summary, video[controls],"
        ' [tabindex="0"]\')].filter(e => !seen.has(e)).map(e => e.outerHTML.slice(0, 80))'
    )
    assert reached == []
    browser.run("document.querySelector('#lineage svg a:last-of-type').focus()")
    press(browser, "Enter")
    assert browser.run("location.hash") == "#step-3"


def test_text_can_be_read_by_day_and_by_night(published: Path, browser: Browser) -> None:
    script = """[...document.querySelectorAll('p, td, th, figcaption, a, small, summary, code')]
      .map(e => {
        const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
          .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
          return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2] };
        let at = e, back = 'rgba(0, 0, 0, 0)';
        while (at && /, 0\\)$/.test(back)) {
          back = getComputedStyle(at).backgroundColor; at = at.parentElement }
        const [a, b] = [light(getComputedStyle(e).color), light(back)].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 60)] })
      .sort((x, y) => x[0] - y[0])[0]"""
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", features=features)
        try:
            for name in ("index.html", SPEAKER):
                browser.open(published / name)
                contrast, where = browser.run(script)
                assert contrast >= 4.5, (scheme, name, where)
        finally:
            browser.call("Emulation.setEmulatedMedia", features=[])
