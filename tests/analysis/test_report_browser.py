"""The report in a real browser: no error, no request, no overflow, and controls that work.

pip install -e '.[browser]' and a Chromium: apt install chromium
"""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from gradflow.analysis.report import page as report
from tests.support.configs import name_analysis

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
]


@pytest.fixture(scope="module")
def page_url(study_folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp("outputs") / "small"
    shutil.copytree(study_folder, copy, ignore=shutil.ignore_patterns("figures", "tables"))
    name_analysis(copy, "degradation", "verdict")
    report.make_report(copy)
    return (copy / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox cannot be set up by root, as in containers.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


def opened(browser, url, width=1280, height=900):
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto(url)
    return page


def test_the_answer_and_the_main_figure_are_on_the_first_screen(browser, page_url):
    page = opened(browser, page_url)
    bottom = "document.querySelector({!r}).getBoundingClientRect().bottom"
    assert page.evaluate(bottom.format("#answer")) < 300
    assert page.evaluate(bottom.format("main figure")) <= 900
    page.context.close()


def test_panels_fit_a_projector(browser, page_url):
    page = opened(browser, page_url, height=720)
    heights = "[...document.querySelectorAll('.card')].map(c => c.getBoundingClientRect().height)"
    assert max(page.evaluate(heights)) <= 720
    page.locator(".whole").first.click()
    page.wait_for_selector(".whole[aria-pressed=true]")
    assert page.evaluate("document.fullscreenElement.getBoundingClientRect().height") == 720
    page.locator(".whole").first.click()
    page.wait_for_selector(".whole[aria-pressed=true]", state="detached")
    assert page.evaluate("document.fullscreenElement") is None
    page.context.close()


NAMES = ["original", "full_preactivation", "relu_before_addition", "longer_than_any_plot_has_room"]


@pytest.mark.parametrize("width", [400, 1280])
def test_labels_of_a_plot_lie_on_it_and_not_on_one_another(browser, page_url, width):
    """Also names that have no room, and chosen values that lie close together."""
    page = opened(browser, page_url, width=width)
    names = {"label": "placement of the norm", "names": NAMES, "range": [-0.5, 3.5]}
    ticks = [[step, str(step)] for step in (60, 120, 240, 480, 1000, 2000)]
    steps = {"label": "steps", "ticks": ticks, "range": [0, 2100]}
    for x, y in ((names, names), (steps, steps), (names, steps)):
        page.evaluate("axes => chart(document.getElementById('runs-plot'), axes)", {"x": x, "y": y})
        texts = page.evaluate(
            """() => [...document.querySelectorAll("#runs-plot text")].map((text) => {
                 const b = text.getBoundingClientRect();
                 const turned = (text.getAttribute("transform") || "").includes("-35");
                 return [b.left, b.top, b.right, b.bottom, turned];
               })"""
        )
        box = page.locator("#runs-plot").bounding_box()
        for left, top, right, bottom, _ in texts:
            assert box["x"] <= left
            assert right <= box["x"] + box["width"] + 1
            assert box["y"] <= top
            assert bottom <= box["y"] + box["height"] + 1
        flat = [text for text in texts if not text[4]]  # the box of a turned one is not its letters
        for number, (left, top, right, bottom, _) in enumerate(flat):
            for other in flat[:number]:
                wide = min(right, other[2]) - max(left, other[0])
                assert min(wide, min(bottom, other[3]) - max(top, other[1])) <= 1
    page.context.close()


def test_runs_are_sorted_filtered_drawn_and_chosen(browser, page_url):
    page = opened(browser, page_url)
    shown = page.locator("#runs-table tbody tr:visible")
    assert shown.count() == page.locator("#runs-plot .mark").count() == 8
    page.locator("#filter").fill("plain depth=14")
    assert shown.count() == page.locator("#runs-plot .mark").count() == 2
    assert page.locator("#shown").inner_text() == "2 of 8 runs"
    page.locator("#filter").fill("depth<14")
    assert shown.count() == 4
    page.locator("#filter").fill("")
    for order in (sorted, lambda numbers: sorted(numbers, reverse=True)):
        page.get_by_role("button", name="training error %").click()
        column = page.locator("#runs-table thead th").all_inner_texts().index("training error %")
        cells = page.locator(f"#runs-table tbody td:nth-child({column + 1})").all_inner_texts()
        numbers = [float(text) for text in cells]
        assert numbers == order(numbers)
    row = page.locator("#runs-table tbody tr", has_text="plain").filter(has_text="8").first
    depth = row.locator("td").first.inner_text()
    row.click()
    assert page.locator("#value-network_depth").inner_text() == depth
    assert page.locator("#runs-plot .mark.chosen").count() == 1
    page.context.close()


def test_a_thousand_runs(browser, page_url, tmp_path, capsys):
    """They are all in the table; how long they take to open is printed."""
    path = tmp_path / "many.html"
    text = Path(url2pathname(urlparse(page_url).path)).read_text()
    [row] = re.findall(r'<tr data-id="[^"]+".*?</tr>', text, re.S)[:1]
    body = "\n".join(row.replace('data-id="', f'data-id="{i}-', 1) for i in range(1000))
    start, end = text.index(row), text.index("</tbody>", text.index(row))
    path.write_text(text[:start] + body + text[end:])
    page = opened(browser, path.as_uri())
    assert page.locator("#runs-plot .mark").count() == 1000
    seconds = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete") / 1000
    with capsys.disabled():
        print(f" 1,000 runs: {path.stat().st_size / 1e6:.2f} MB, open in {seconds:.2f} s", end=" ")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1600])
def test_at_every_width_and_in_the_dark(browser, page_url, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    errors, requests = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_url)
    page.wait_for_selector("#plot .line")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('#plot').getBoundingClientRect().width") <= width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    turned = page.evaluate("getComputedStyle(document.querySelector('.zoom img')).filter")
    assert (turned == "none") == (scheme == "light")

    summary = page.locator("#summary")
    first = summary.inner_text()
    assert "plain:" in first
    assert "residual:" in first
    page.locator("[name=network_depth]").focus()
    page.keyboard.press("ArrowLeft")  # from the deepest network to the next
    second = summary.inner_text()
    assert second != first
    page.locator("[name=step]").focus()
    page.keyboard.press("End")
    assert summary.inner_text() != second
    page.get_by_label("plain", exact=True).uncheck()
    assert "plain:" not in summary.inner_text()
    assert page.locator("#plot .line").count() == 1
    page.locator("[name=kind]").select_option(label="each block's input")
    assert "block" in (page.locator("#plot").text_content() or "")
    page.locator("#play").click()  # from the last step it starts over, and stops at the end
    page.wait_for_selector("#play[aria-pressed=false]")
    assert page.locator("#value-step").inner_text() == "7"
    page.emulate_media(media="print")
    assert not page.locator("form").first.is_visible()
    assert errors == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [page_url]
    context.close()
