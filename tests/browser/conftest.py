"""A real browser without a network, and what pages ask of it."""

import shutil

import pytest

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with playwright.sync_playwright() as started:
        # Root may run no sandbox; without a GPU there is WebGL in software.
        options = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        browser = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


class Watched:
    """A page, with all that it asked for and complained of."""

    def __init__(self, browser, width=1000, scheme="light"):
        self.asked, self.complaints = [], []
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        self.page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)

    def _listen(self, message):
        # The driver's advice on speed.
        if "GL Driver Message" not in message.text:
            self.complaints.append(message.text)

    def open(self, path, shown=""):
        self.page.goto(f"{path.as_uri()}#{shown}")
        if path.name == "viewer.html":
            self.page.wait_for_selector(f'body[data-shown*="{shown or "/"}"]')
        return self.page

    def close(self):
        self.page.context.close()


@pytest.fixture
def watched(browser):
    opened = []

    def new(**options):
        opened.append(Watched(browser, **options))
        return opened[-1]

    yield new
    for each in opened:
        each.close()
        assert each.complaints == []
