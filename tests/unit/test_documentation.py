"""Pages that quote the code quote what is there."""

import re
from pathlib import Path

import kronufft

ROOT = Path(__file__).parents[2]
SNAKEMAKES_OWN = "Directory cannot be locked"


def test_the_messages_of_the_troubleshooting_page_are_in_the_code():
    code = "".join(path.read_text() for path in sorted((ROOT / "pipeline").rglob("*.py")))
    code = re.sub(r'"\s*f?"', "", code)  # texts over several lines
    code = re.sub(r"\{[^{}]*\}", "...", code)  # what is filled in
    page = (ROOT / "docs/troubleshooting.md").read_text()
    messages = re.findall(r"^\| ([^|]*`[^|]*) \|", page, re.MULTILINE)
    quoted = [part for text in messages for part in re.findall(r"`([^`]*)`", text)]
    assert len(quoted) > 20
    wanted = {part.strip() for text in quoted for part in text.split("...")}
    missing = [part for part in wanted if part not in code]
    assert missing == [SNAKEMAKES_OWN]


def test_the_reference_of_python_has_every_public_name():
    page = (ROOT / "docs/reference/python.md").read_text()
    named = set(re.findall(r"auto(?:class|function|exception):: (\w+)", page))
    assert named == set(kronufft.__all__) - {"__version__"}
