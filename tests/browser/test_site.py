"""The documentation in a real browser, as `make docs` built it: from disk, wide and narrow."""

from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "build/site"
PAGES = ("docs/index", "docs/tutorial", "docs/gallery", "docs/reference/settings", "README")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="`make docs` has not run"),
]


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_pages_stand_alone_and_fit(watched, width, scheme):
    seen = watched(width=width, scheme=scheme)
    for name in PAGES:
        page = seen.open(SITE / f"{name}.html")
        assert page.locator("h1").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        loaded = page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert loaded, name
    assert {url.partition(":")[0] for url in seen.asked} <= {"file", "data"}


def test_the_first_page_leads_home_and_search_finds(watched):
    seen = watched()
    seen.open(SITE / "index.html")
    seen.page.wait_for_url("**/docs/index.html")
    page = seen.open(SITE / "search.html")
    page.locator(".search input, form input[name=q]").last.fill("kooshball")
    page.keyboard.press("Enter")
    page.wait_for_selector("ul.search li a")
