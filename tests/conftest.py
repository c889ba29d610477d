"""A browser that opens reports."""

import pytest
from chromium import LAPTOP, find_chromium


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
    contexts, complaints = [], []

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

    urls = []
    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}
