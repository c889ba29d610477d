"""A browser that opens reports, and a folder with all that is reported on."""

import pytest
from chromium import LAPTOP, find_chromium

from dpedkit.cli import execute


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            pytest.skip("there is no Chromium; `apt install chromium` or `playwright install`")
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=path, args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """Open a page or a folder's report; at the end, no error and no address but files."""
    contexts, complaints, urls = [], [], []

    def opened(place, scheme="light", screen=LAPTOP):
        context = browser.new_context(viewport=screen, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.on("request", lambda request: urls.append(request.url))
        file = place if place.is_file() else place / "report" / "index.html"
        page.goto(file.as_uri())
        page.wait_for_function("[...document.images].every((image) => image.complete)")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All that the commands leave, on simulated photos."""
    here = tmp_path_factory.mktemp("trained")
    small = ("--pairs", "6", "--phone-megapixels", "0.35", "--dslr-megapixels", "0.9")
    training = (
        *("--generator", "srcnn", "--steps", "4", "--batch", "4", "--content", "msssim-l1"),
        *("--evaluate-every", "1", "--evaluate-patches", "8", "--name", "001"),
    )
    for command in (
        ("simulate", *small, "-o", "raw"),
        ("pairs", "raw/iphone", "raw/canon", "--report", "pairs.html"),
        ("align", "raw/iphone", "raw/canon", "-o", "aligned"),
        ("patches", "aligned", "--min-corr", "0.98", "--val-pairs", "2", "-o", "shards"),
        ("train", "shards", *training, "--runs", "runs"),
        ("evaluate", "runs/001", "shards"),
    ):
        paths = ("raw", "pairs.html", "aligned", "shards", "runs")
        absolute = [str(here / word) if word.split("/")[0] in paths else word for word in command]
        assert execute([*absolute, "-q"]) == 0
    return here
