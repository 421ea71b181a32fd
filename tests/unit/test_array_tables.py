"""Settings, documentation and readers agree with the tables of arrays and of formats."""

import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipeline.config.sources import FORMATS, Axis, MriArrayName, RfArrayName, reader_module
from pipeline.errors import ConfigError
from pipeline.fingerprint import modules_of
from pipeline.mri.arrays import ARRAYS
from pipeline.rf.arrays import BY_ELEMENTS, PAIR_SOURCE, PAIRS, PULSE_SOURCE, PULSES

ROOT = Path(__file__).parents[2]


def documented(table):
    """Return the table as the documentation shows it."""
    lines = ["| array | type | axes | what |", "|---|---|---|---|"]
    for path, field in table.fields.items():
        optional = len(field.axes) - field.lacks
        axes = [f"({axis})" if n >= optional else axis for n, axis in enumerate(field.axes)]
        what = field.meaning + (f" [{field.unit}]" if field.unit else "")
        need = "" if field.optional else "; needed"
        kind = np.dtype(field.dtype).name
        lines.append(f"| `{path}` | {kind} | {', '.join(axes)} | {what}{need} |")
    return "\n".join(lines)


@pytest.mark.parametrize("table", [ARRAYS, PAIRS, PULSES], ids=["mri", "rf pairs", "rf pulses"])
def test_the_documentation_has_the_table(table):
    assert documented(table) in (ROOT / "docs/data.md").read_text(), (
        f"put this in its place:\n{documented(table)}"
    )


def test_settings_know_the_arrays_and_their_axes():
    assert set(get_args(MriArrayName)) == set(ARRAYS.fields)
    assert set(get_args(RfArrayName)) == set(PAIR_SOURCE.fields) | set(PULSE_SOURCE.fields)
    fields = [field for table in (ARRAYS, PAIR_SOURCE, PULSE_SOURCE) for field in
              table.fields.values()]  # fmt: skip
    axes = {axis for field in (*fields, BY_ELEMENTS) for axis in field.axes}
    assert set(get_args(Axis)) == axes | {"1", "slice"}


def test_each_format_has_a_reader_and_is_documented():
    row = re.search(r"\| `format` \|.*", (ROOT / "config/README.md").read_text()).group()
    for kind, names in FORMATS.items():
        for name in names:
            assert callable(import_module(reader_module(kind, name)).open_source)
            assert f"`{name}`" in row
    with pytest.raises(ConfigError, match=r"format `gotcha`: a dataset of kind mri has one of nat"):
        reader_module("mri", "gotcha")


def test_ingest_reaches_no_reader_by_its_imports():
    readers = {reader_module(kind, name) for kind, names in FORMATS.items() for name in names}
    assert not readers & set(modules_of("ingest"))


@pytest.mark.parametrize("kind", FORMATS)
def test_no_reader_reaches_another(kind):
    readers = {reader_module(kind, name) for name in FORMATS[kind]}
    for module in readers:
        assert module not in modules_of_others(module, readers)


def modules_of_others(module, readers):
    text = "".join(
        Path(*other.split(".")).with_suffix(".py").read_text() for other in readers - {module}
    )
    return set(re.findall(r"from (pipeline[\w.]*) import", text))
