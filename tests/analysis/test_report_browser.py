"""The report in a real browser: no error, no request, no overflow, and controls that work.

pip install -e '.[browser]' and a Chromium: apt install chromium
"""

import os
import shutil

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
    page.wait_for_selector("#plot .main-svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('#plot').getBoundingClientRect().width") <= width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")

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
    assert page.locator("#plot .legendtext").count() == 1
    page.locator("[name=kind]").select_option(label="each block's input")
    assert "block" in (page.locator("#plot .xtitle").text_content() or "")

    page.locator(".enlarge").first.click()
    assert page.locator(".zoom.enlarged").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(media="print")
    assert not page.locator("form").first.is_visible()
    assert errors == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [page_url]
    context.close()
