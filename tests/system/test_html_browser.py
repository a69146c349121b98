"""The HTML page as a reader meets it, in headless Chromium."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from convsv_cli.report import Interval, LayerAudit
from tests.support import html_reports as samples

INSTALL = "no Chromium: apt-get update && apt-get install -y --no-install-recommends chromium"
CASES = ("bounded", "judged", "unbounded", "spectra", "without graph", "hostile", "several", "nothing")
OTHERS = ("certified", "not certified", "difference", "trend", "hostile trend")
LIGHT: dict[str, Any] = {"color_scheme": "light", "viewport": {"width": 1240, "height": 900}}
DARK: dict[str, Any] = {**LIGHT, "color_scheme": "dark"}
NARROW: dict[str, Any] = {"color_scheme": "light", "viewport": {"width": 360, "height": 740}}
VIEWS = {"light": LIGHT, "dark": DARK, "narrow": NARROW}
BY_CERTIFIED = "table.layers th:has-text('certified')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail(INSTALL)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for name, text in samples.cases().items():
        (folder / f"{name}.html").write_bytes(text.encode())
    return folder


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A page that was opened, and what it said and asked for."""

    page: Page
    complaints: list[str]
    requests: list[str]


@contextmanager
def visiting(browser: Browser, path: Path, **options: Any) -> Iterator[Visit]:
    context = browser.new_context(**options)
    visit = Visit(page=context.new_page(), complaints=[], requests=[])
    visit.page.on("console", lambda message: visit.complaints.append(message.text))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.goto(path.as_uri())
    yield visit
    context.close()


def issues(page: Page) -> list[str]:
    """All that axe has against the page, whatever its weight."""
    found = Axe().run(page).response["violations"]
    return [f"{issue['impact']} {issue['id']}: {issue['nodes'][0]['target']}" for issue in found]


def order(page: Page) -> list[str]:
    return page.locator("table.layers tbody th .name").all_inner_texts()


SEEN = [(case, view) for case, view in zip([*CASES, *OTHERS], itertools.cycle(VIEWS), strict=False)]
"""Every page in one view, and below, the fullest in all of them."""


@pytest.mark.parametrize(("case", "view"), [*SEEN, *((CASES[0], view) for view in list(VIEWS)[1:])])
def test_a_page_is_quiet_and_accessible(browser: Browser, folder: Path, case: str, view: str) -> None:
    with visiting(browser, folder / f"{case}.html", **VIEWS[view]) as visit:
        assert issues(visit.page) == []
        assert visit.complaints == []
        assert set(visit.requests) <= {visit.page.url, *icons(visit.page)}
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visit.page.evaluate(wider) == 0


def icons(page: Page) -> list[str]:
    """Addresses of the icon, which is in the page itself."""
    return page.eval_on_selector_all("link[rel=icon]", "links => links.map(link => link.href)")


def test_axe_and_the_listeners_would_have_noticed(browser: Browser, folder: Path) -> None:
    with visiting(browser, folder / "bounded.html", **LIGHT) as visit:
        visit.page.evaluate("document.documentElement.removeAttribute('lang')")
        assert issues(visit.page) == ["serious html-has-lang: ['html']"]
        visit.page.evaluate(
            """() => {
              const add = (tag, fields) =>
                document.body.append(Object.assign(document.createElement(tag), fields));
              add("script", { text: "window.ran = 1" });
              add("img", { src: "http://127.0.0.1:9/x.png" });
            }"""
        )
        visit.page.wait_for_function("() => true")
        assert visit.page.evaluate("window.ran") is None
        assert len([line for line in visit.complaints if "Content Security Policy" in line]) == 2


def test_tables_sort_by_mouse_and_by_keyboard(browser: Browser, folder: Path) -> None:
    sample = samples.judged(samples.resnet())
    uppers = {layer.name: layer.measurement("certified") for layer in sample.layers}
    falling = sorted(uppers, key=lambda name: -uppers[name].value)  # type: ignore[union-attr]
    with visiting(browser, folder / "judged.html", **LIGHT) as visit:
        heading = visit.page.locator(BY_CERTIFIED)
        button = heading.get_by_role("button")
        assert order(visit.page) == list(uppers)
        button.click()
        assert (order(visit.page), heading.get_attribute("aria-sort")) == (falling, "descending")
        visit.page.keyboard.press("Enter")
        assert (order(visit.page), heading.get_attribute("aria-sort")) == (falling[::-1], "ascending")
        names = visit.page.locator("table.layers th:has(button:text-is('layer'))")
        tab_to(visit.page, names.get_by_role("button"))
        visit.page.keyboard.press("Space")
        assert (names.get_attribute("aria-sort"), heading.get_attribute("aria-sort")) == ("ascending", None)
        assert order(visit.page) == sorted(uppers)
        visit.page.locator("table.layers th:has(button:text-is('#'))").get_by_role("button").click()
        assert order(visit.page) == list(uppers)
        assert visit.complaints == []


def test_a_deep_network_is_filtered_and_grouped(browser: Browser, folder: Path) -> None:
    sample = samples.deep(150)
    (folder / "deep.html").write_text(samples.render(sample), encoding="utf-8")
    with visiting(browser, folder / "deep.html", **LIGHT) as visit:
        page, rows = visit.page, visit.page.locator("table.layers tbody tr:not(.group):visible")
        groups = page.locator("table.layers tr.group:visible").get_by_role("button")
        assert groups.all_inner_texts() == [f"features.stage{i}" for i in range(3)]
        page.get_by_label("Filter").fill("STAGE2 conv1")
        wanted = [each.name for each in sample.layers if "stage2" in each.name and "conv1" in each.name]
        assert rows.locator(".name").all_inner_texts() == wanted
        assert (groups.count(), page.get_by_text(f"{len(wanted)} of 150 layers").count()) == (1, 1)
        page.get_by_label("Filter").fill("")
        groups.first.focus()
        page.keyboard.press("Enter")
        assert (rows.count(), groups.first.get_attribute("aria-expanded")) == (100, "false")
        assert groups.first.evaluate("element => element === document.activeElement")
        page.get_by_role("button", name="Open all").click()
        page.locator(BY_CERTIFIED).get_by_role("button").click()
        assert rows.count() == 150, "sorted, each group is there once, whole"
        assert groups.count() == 3
        page.get_by_label("group by module").uncheck()
        assert (groups.count(), rows.count()) == (0, 150)
        page.locator(".scroll.tall").evaluate("element => element.scrollTop = 3000")
        assert page.locator(BY_CERTIFIED).is_visible()
        boxes = [page.locator(each).first.bounding_box() for each in (".scroll.tall", "table.layers th")]
        tops = [box["y"] for box in boxes if box is not None]
        assert tops[0] <= tops[1] <= tops[0] + 30, "the header stays"
        assert (issues(page), visit.complaints) == ([], [])


def test_figures_of_a_chart_are_said_in_full(browser: Browser, folder: Path) -> None:
    sample = samples.resnet()
    ends = [certified(layer) for layer in sample.layers]
    said = [f"certified {each.lower!r} to {each.upper!r}" for each in ends]
    with visiting(browser, folder / "bounded.html", **LIGHT) as visit:
        slider, output = visit.page.get_by_label("Figures of one layer"), visit.page.locator(".reader output")
        slider.focus()
        assert output.inner_text().startswith(f"{sample.layers[0].name}: {said[0]}")
        visit.page.keyboard.press("ArrowRight")
        assert said[1] in output.inner_text()
        assert slider.get_attribute("aria-valuetext") == output.inner_text()
        visit.page.locator("figure.profile g.stop").nth(7).hover()
        assert output.inner_text().startswith(f"{sample.layers[7].name}: {said[7]}")


def test_a_trend_is_filtered_and_read_step_by_step(browser: Browser, folder: Path) -> None:
    with visiting(browser, folder / "trend.html", **LIGHT) as visit:
        page, (_, last) = visit.page, samples.training()[-1]
        slider, output = page.get_by_label("Figures of one step"), page.locator(".reader output")
        slider.focus()
        page.keyboard.press("End")
        said = f"runs/epoch10.json: certified ≤ {last.bound.lipschitz!r}, by covariance (12 blocks)"
        assert output.inner_text().startswith(said)
        page.get_by_label("Filter").fill("layer2")
        shown = page.locator("table.layers tbody tr:visible .name").all_inner_texts()
        assert len(shown) == 7
        assert all("layer2" in name for name in shown)
        chart = page.get_by_role("img", name="layer2.0.conv1:")
        assert "Above its limit at 1, 2," in (chart.locator("> title").text_content() or "")
        assert chart.locator("circle.rank, use.square").count() == 5
        assert visit.complaints == []


def certified(layer: LayerAudit) -> Interval:
    found = layer.measurement("certified")
    assert found is not None
    assert found.enclosure is not None
    return found.enclosure


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus, as someone without a mouse does."""
    page.evaluate("document.activeElement.blur()")
    for _ in range(200):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    pytest.fail("the keyboard does not get there")


def test_what_has_no_figure_stays_below(browser: Browser, folder: Path) -> None:
    with visiting(browser, folder / "unbounded.html", **LIGHT) as visit:
        button = visit.page.locator(BY_CERTIFIED).get_by_role("button")
        for _ in range(2):
            button.click()
            assert set(order(visit.page)[-2:]) == {"layer1.1.conv1", "layer2.0.conv1"}


def test_every_chart_has_a_text_alternative(browser: Browser, folder: Path) -> None:
    with visiting(browser, folder / "judged.html", **LIGHT) as visit:
        charts = visit.page.get_by_role("img")
        outer = visit.page.locator("svg:not(svg svg):not([aria-hidden])")
        assert charts.count() == outer.count() > 30
        for chart in outer.all():
            assert chart.locator("> title").text_content()
        profile = visit.page.get_by_role("img", name="Certified norm of each layer, from input to output")
        described = profile.locator("desc").text_content() or ""
        assert "The largest is conv1 at 6.709" in described
        assert "4 layers beyond their limit" in described
        assert "limit 4.6, exceeded" in (
            visit.page.locator("tr.fail td.track title").first.text_content() or ""
        )


def test_limits_are_drawn_where_they_are(browser: Browser, folder: Path) -> None:
    """Marks beyond the limit are right of its line, the others are not."""
    with visiting(browser, folder / "judged.html", **LIGHT) as visit:
        for row in visit.page.locator("table.layers tbody tr").all():
            if row.locator(".status").inner_text().startswith(("✓", "✕")):
                x = float((row.locator("line.limit").get_attribute("x1") or "").rstrip("%"))
                mark = row.locator("line.interval, line.exceeding").get_attribute("x2") or ""
                assert (float(mark.rstrip("%")) > x) == ("fail" in (row.get_attribute("class") or ""))


def test_it_reads_without_javascript(browser: Browser, folder: Path) -> None:
    with visiting(browser, folder / "judged.html", java_script_enabled=False) as visit:
        assert visit.page.locator("table.layers tbody tr").count() == len(samples.resnet().layers)
        assert visit.page.locator("button, input, output").count() == 0
        assert visit.page.get_by_text("Budget exceeded").is_visible()
        visit.page.locator("summary", has_text="limits kept").click()
        assert visit.page.get_by_role("table", name="Limits kept").is_visible()


def test_it_prints_with_everything_open(browser: Browser, folder: Path) -> None:
    with visiting(browser, folder / "judged.html", **DARK) as visit:
        assert visit.page.locator("details:not([open])").count() == 1
        assert visit.page.pdf(format="A4").startswith(b"%PDF")
        assert visit.page.locator("details:not([open])").count() == 0
        visit.page.emulate_media(media="print")
        paper = "getComputedStyle(document.body).backgroundColor"
        assert visit.page.evaluate(paper) == "rgb(255, 255, 255)"


def test_names_from_files_do_nothing(browser: Browser, folder: Path) -> None:
    with visiting(browser, folder / "hostile.html", **LIGHT) as visit:
        visit.page.on("dialog", lambda _: pytest.fail("a name was run"))
        for row in visit.page.locator("table.layers tbody tr").all():
            row.hover()
        assert visit.page.locator("script").count() == 1
        assert visit.page.locator("img").count() == 0
        assert samples.HOSTILE[0] in visit.page.locator("table.layers").inner_text()
