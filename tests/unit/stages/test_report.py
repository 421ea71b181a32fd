"""The report stage on made-up results: what the page must hold, and must not."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from reported import reported
from results_tree import write_run

from pipeline.errors import DataError
from pipeline.metrics.tables import read_table
from pipeline.stages.report import report
from pipeline.storage.publish import read_json, write_json

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what the page shows and loads."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.loaded, self.tags, self.text = [], [], [], [], ""
        self.links = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.loaded += [
            attrs[name] for name in ("src", "srcset", "data", "poster") if name in attrs
        ]
        if "href" in attrs:
            self.links.append(attrs["href"])
        if tag == "img":
            assert attrs["alt"].strip()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def run_all(results, runs, frames_per_image=1, **changed):
    html = reported(results, runs, frames_per_image, **changed)
    return Page(html), html


def test_page_is_whole_and_self_contained(tmp_path):
    runs = [
        write_run(tmp_path, dataset="volume"),
        write_run(tmp_path, dataset="cine", shape=(14, 12), frames=10, blocks=2),
        write_run(tmp_path, dataset="lung", algorithm="gridding", with_reference=False),
    ]
    page, html = run_all(tmp_path, runs)
    assert html.startswith("<!DOCTYPE html>")
    assert "script" not in page.tags
    assert all(source.startswith("data:image/") for source in page.loaded)
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", html)
    assert "@import" not in html
    assert len(page.ids) == len(set(page.ids))
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside == set(page.ids)
    for link in page.links:
        if not link.startswith("#") and "metrics.parquet" not in link:
            assert (tmp_path / link.partition("#")[0]).exists(), link
    for run in runs:
        assert run.dataset in page.text
    # volume: thumbnail, 9 planes, 3 phases; cine: thumbnail, 3 planes, 3 x 8 frames, phase; lung: 7
    assert sum("png" in source for source in page.loaded) == 13 + 29 + 7
    # two convergence curves, the memory, and when jobs ran
    assert sum("svg" in source for source in page.loaded) == 4
    assert "10 × 5" not in page.text
    assert "difference × 5" in page.text


def test_page_names_figures_and_settings(tmp_path):
    page, _ = run_all(tmp_path, [write_run(tmp_path, shape=(9, 20, 17), blocks=1)])
    for expected in (
        "9 × 20 × 17", "4 coils", "15 samples", "NRMSE", "SSIM", "99.5th percentile",
        "z = 4, y = 10, x = 8", "5 times as bright", "toeplitz", "ducc0", "walsh", "2.0e-07",
        "The limit of all but ingest is 2.0 GB", "kronufft",
        "Tikhonov weight 0.001, 12 iterations; stopped by the number of iterations.",
    ):  # fmt: skip
        assert expected in page.text


def test_misfits_stand_beside_the_residuals(tmp_path):
    runs = [
        write_run(tmp_path, dataset="cine", shape=(14, 12), frames=10, blocks=2),
        write_run(tmp_path, dataset="exact", shape=(14, 12), misfit=0.007),
        write_run(tmp_path, dataset="lung", shape=(14, 12), algorithm="gridding"),
    ]
    page, _ = run_all(tmp_path, runs)
    assert page.text.count("data misfit is what images leave") == 2
    assert "relative to them: 0.040 to 0.049; noise alone would leave 0.020." in page.text
    assert "relative to them: < 0.007; noise" in page.text
    assert "warning" not in page.text


def test_warnings_stand_at_the_head_of_the_page_each_once(tmp_path):
    runs = [
        write_run(tmp_path, dataset="one", shape=(14, 12), misfit=0.8),
        write_run(tmp_path, dataset="two", shape=(14, 12), misfit=0.9),
        write_run(tmp_path, dataset="right", shape=(14, 12)),
    ]
    path = runs[0].shared[1]
    told = ["one: coils <2> and 3 may be swapped", "one: coils <2> and 3 may be swapped"]
    write_json(path, {**read_json(path), "warnings": told})
    page, html = run_all(tmp_path, runs)
    head = page.text[: page.text.index("right")]
    assert "3 warnings: these images may be wrong" in head
    for line in (
        "one: coils <2> and 3 may be swapped",
        "one/cg-sense: the image leaves 0.80 of the data unexplained",
        "two/cg-sense: the image leaves 0.90 of the data unexplained",
    ):
        assert head.count(line) == 1
    assert html.index("these images may be wrong") < html.index('class="sheet"')


def test_jobs_that_took_more_than_planned_stand_at_the_head_of_the_page(tmp_path):
    run = write_run(tmp_path, dataset="lean")
    path = run.receipts / "reconstruct-0000.json"
    write_json(path, {**read_json(path), "peak_host_bytes": 950_000_000})
    page, html = run_all(tmp_path, [run, write_run(tmp_path, dataset="right")])
    line = "lean · cg-sense · reconstruct: a job took up to 950 MB of host memory, planned were 900"
    assert page.text.count(line) == 1
    assert html.index(line) < html.index('class="sheet"')
    assert "right · cg-sense · reconstruct" not in page.text


def test_neighbouring_reconstructions_lie_over_each_other(tmp_path):
    names = ("a", "b", "c")
    runs = [write_run(tmp_path, reconstruction=name, shape=(14, 12)) for name in names]
    _, html = run_all(tmp_path, runs)
    sides = re.findall(r'alt="head, (.), on the (left|right)"', html)
    assert sides == [("b", "right"), ("a", "left"), ("c", "right"), ("b", "left")]


def test_names_are_escaped(tmp_path):
    name = "<b>head & shoulders</b>"
    page, html = run_all(tmp_path, [write_run(tmp_path, reconstruction=name.replace("/", ""))])
    assert "<b>head & shoulders<b>" in page.text
    assert "<b>head &" not in html


def test_table_has_every_job_and_image_once(tmp_path):
    runs = [
        write_run(tmp_path, dataset="b"),
        write_run(tmp_path, dataset="b", reconstruction="again"),
        write_run(tmp_path, dataset="a", shape=(14, 12), frames=3),
    ]
    run_all(tmp_path, runs)
    table = read_table(tmp_path / "metrics.csv")
    jobs = table[table["kind"] == "job"]
    assert len(jobs) == 2 * 2 + 3 * 4
    assert not jobs.duplicated(["dataset", "reconstruction", "stage", "block"]).any()
    assert list(table["dataset"].unique()) == ["b", "a"]
    assert list(table["stage"][:2]) == ["ingest", "calibrate"]
    assert len(table[table["kind"] == "image"]) == 1 + 1 + 3
    assert (tmp_path / "metrics.parquet").exists()


def test_missing_inputs_are_named_and_the_rest_is_shown(tmp_path):
    page, _ = run_all(
        tmp_path,
        [write_run(tmp_path)],
        images=[tmp_path / "lost" / "image.json"],
        receipts=[tmp_path / "lost" / "ingest.json"],
        metrics=[tmp_path / "lost" / "metrics.csv"],
    )
    assert "3 inputs are missing or unreadable" in page.text
    assert str(tmp_path / "lost" / "image.json") in page.text
    assert "cg-sense" in page.text


def test_nothing_to_report(tmp_path):
    with pytest.raises(DataError, match="nothing to report"):
        report(
            metrics=[], receipts=[], images=[], raws=[],
            report=tmp_path / "report.html", table=tmp_path / "metrics.csv",
        )  # fmt: skip
    assert not (tmp_path / "report.html").exists()


def test_long_series_is_summarised(tmp_path):
    page, _ = run_all(tmp_path, [write_run(tmp_path, shape=(14, 12), frames=20)])
    assert "8 of 20 frames" in page.text
    assert "median" in page.text


def test_joined_frames(tmp_path):
    run = write_run(tmp_path, shape=(14, 12), frames=4, joined=2)
    page, _ = run_all(tmp_path, [run], frames_per_image=2)
    assert "All frames" in page.text
    assert np.isclose(read_table(tmp_path / "metrics.csv")["frames"].max(), 2)


def test_what_failed_is_named_with_its_reason(tmp_path):
    log = tmp_path / "logs/reconstruct/head/gridding/0000.log"
    log.parent.mkdir(parents=True)
    log.write_text("kronufft: head block 0000: the device ran out of memory\n")
    run = write_run(tmp_path)
    run_all(tmp_path, [run])
    report(
        metrics=[run.metrics], receipts=[], images=[run.image], raws=[run.raw],
        report=tmp_path / "report.html", table=tmp_path / "metrics.csv",
        expected=["head/cg-sense", "head/gridding", "lung/cg-sense"],
        logs=tmp_path / "logs",
    )  # fmt: skip
    page = Page((tmp_path / "report.html").read_text())
    assert "2 reconstructions failed or did not run" in page.text
    assert "head · gridding: reconstruct: head block 0000: the device ran out" in page.text
    assert "lung · cg-sense: has not run" in page.text
