"""The viewer's page, without a browser."""

import gzip
import hashlib
from importlib.resources import files
from pathlib import Path

from pipeline.report.viewer import viewer_of


def test_niivue_is_what_its_note_says():
    templates = files("pipeline.report") / "templates"
    script = gzip.decompress((templates / "niivue.js.gz").read_bytes())
    assert hashlib.sha256(script).hexdigest() in (templates / "niivue.txt").read_text()
    assert b"</script" not in script  # it stands within a page


def test_each_report_has_a_viewer_of_its_own():
    assert viewer_of(Path("results/report.html")) == Path("results/viewer.html")
    assert viewer_of(Path("results/report-so-far.html")) == Path("results/viewer-so-far.html")
