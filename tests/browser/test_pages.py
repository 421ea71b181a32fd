"""The pages in a real browser: opened from disk, on wide and narrow screens, light and dark."""

import io
import re
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
import zarr
from matplotlib.image import imread
from reported import reported
from results_tree import write_run

from pipeline.config.outputs import OutputSettings
from pipeline.merge.outputs import Merged
from pipeline.merge.viewer import write_viewer

pytestmark = pytest.mark.slow

VOLUME = (12, 20, 17)


def copy_for_viewer(run):
    images = zarr.open_array(run.image.with_suffix(".zarr") / "image", mode="r")
    merged = Merged(
        images, np.diag([2e-3, 2e-3, 2e-3, 1]), False, None, run.dataset, run.reconstruction,
        "mri", "", None, None, 1, OutputSettings(), dict, {},
    )  # fmt: skip
    write_viewer(run.image.with_name("viewer.js"), merged)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A run of a volume in two ways, the second much noisier, and a series."""
    results = tmp_path_factory.mktemp("results")
    runs = [
        write_run(results, dataset="head", shape=VOLUME),
        write_run(results, dataset="head", reconstruction="noisy", shape=VOLUME, level=0.5),
        write_run(results, dataset="cine", shape=(24, 22), frames=6, blocks=2),
    ]
    for run in runs:
        copy_for_viewer(run)
    reported(results, runs)
    return results


def picture(page):
    """Return the middle of the stage, float ``[row, column, colour]``, without what lies on it."""
    return imread(io.BytesIO(page.locator(".stage").screenshot()))[60:-60, 8:-8, :3]


def slide(page, which, value):
    page.locator(which).fill(str(value))
    page.wait_for_timeout(200)


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report.html", "viewer.html"])
def test_pages_fit_and_ask_for_nothing_but_what_lies_beside_them(
    watched, results, width, scheme, name
):
    opened = watched(width=width, scheme=scheme)
    page = opened.open(results / name)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", ground)))
    assert brightness > 600 if scheme == "light" else brightness < 150
    loaded = {urlparse(url) for url in opened.asked if not url.startswith(("data:", "blob:"))}
    assert {url.scheme for url in loaded} == {"file"}
    assert all(Path(url.path).is_relative_to(results) for url in loaded)


def test_print_shows_what_is_folded_and_cuts_nothing(watched, results):
    page = watched(width=700).open(results / "report.html")
    folded = "[...document.querySelectorAll('details:not([open]) :is(table, img, dd)')]"
    seen = f"{folded}.filter((one) => one.checkVisibility()).length"
    count = page.evaluate(f"{folded}.length")
    assert count > 3
    assert page.evaluate(seen) == 0
    page.emulate_media(media="print")
    assert page.evaluate(seen) == count
    tables = "[...document.querySelectorAll('table, .plate, .time')]"
    assert page.evaluate(f"{tables}.every((one) => one.scrollWidth <= 700)")
    inks = "new Set([...document.querySelectorAll('.time i')].map((one) => getComputedStyle(one)"
    assert page.evaluate(f"[...{inks}.printColorAdjust))]") == ["exact"]


def test_the_report_leads_to_the_viewer(watched, results):
    page = watched().open(results / "report.html")
    page.locator('a[href="viewer.html#head/noisy"]').first.click()
    page.wait_for_selector('body[data-shown^="head/noisy"]')


def test_a_volume_scrolls_and_turns(watched, results):
    page = watched().open(results / "viewer.html", "head/cg-sense")
    page.check("#axial")
    assert "slice 7 of 12" in page.inner_text("#told")
    before = picture(page)
    page.locator(".stage").hover()
    page.mouse.wheel(0, 100)
    page.locator("#told", has_text=re.compile(r"slice [68] of 12")).wait_for()
    assert np.abs(picture(page) - before).max() > 0.1
    slide(page, "#slice", 0)
    assert "slice 1 of 12" in page.inner_text("#told")
    page.check("#turn")
    page.wait_for_timeout(300)
    before = picture(page)
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y + 40, steps=2)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert np.abs(picture(page) - before).max() > 0.1


def test_a_series_plays_until_it_is_paused(watched, results):
    page = watched().open(results / "viewer.html", "cine/cg-sense")
    assert page.inner_text("#which") == "frame 0"
    before = picture(page)
    page.click("#play")
    page.locator("#which", has_text="frame 3").wait_for()
    page.click("#play")
    stopped = page.inner_text("#which")
    assert np.abs(picture(page) - before).max() > 0.1
    page.wait_for_timeout(500)
    assert page.inner_text("#which") == stopped


def test_the_slider_shows_one_image_left_of_it_and_the_other_right(watched, results):
    page = watched().open(results / "viewer.html", "head/cg-sense")
    page.select_option("#other", label="noisy")
    page.locator("#right", has_text="noisy").wait_for()
    seen = {}
    for place in (0, 50, 100):
        slide(page, "#split", place)
        seen[place] = picture(page)
    middle = seen[50].shape[1] // 2
    assert np.abs(seen[0] - seen[100]).max() > 0.3
    np.testing.assert_allclose(seen[50][:, 3 : middle - 8], seen[100][:, 3 : middle - 8], atol=0.02)
    np.testing.assert_allclose(seen[50][:, middle + 8 : -3], seen[0][:, middle + 8 : -3], atol=0.02)


def test_window_and_level_change_what_is_black_and_white(watched, results):
    page = watched().open(results / "viewer.html", "cine/cg-sense")
    usual = picture(page).mean()
    slide(page, "#level", 100)
    dark = picture(page).mean()
    slide(page, "#level", 0)
    assert dark < usual < picture(page).mean()


def test_tables_are_sorted_by_number(watched, results):
    page = watched().open(results / "viewer.html")
    table = page.locator("table.sortable").first
    rows = table.locator("tbody tr")
    column = table.locator("th").all_inner_texts().index("NRMSE")
    header = table.locator("th button").nth(column)
    header.click()
    rising = [float(text) for text in rows.locator(f"td:nth-child({column + 1})").all_inner_texts()]
    assert rising == sorted(rising)
    header.click()
    assert rows.first.locator("td").nth(1).inner_text() == "noisy"
