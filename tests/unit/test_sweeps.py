"""Sweeps: what they stand for, and what is refused when the config is read."""

import jsonschema
import pytest

from pipeline.config.datasets import DATASET_COLUMNS, load_datasets
from pipeline.config.file import load_config
from pipeline.config.schema import config_schema
from pipeline.errors import ConfigError

FISTA = {"algorithm": "fista", "penalty": "wavelet"}


def _config(sweep, **other):
    others = {"cg-sparsity-0.2": {"algorithm": "cg-sense"}, "plain": {"algorithm": "gridding"}}
    content = {"algorithm": "fista", "penalty": "wavelet", **other, "sweep": sweep}
    return {"reconstructions": {"plain": others["plain"], "cg": content, **others}}


def test_each_value_is_a_reconstruction_like_any_other():
    config = load_config(_config({"sparsity": [0.03, 1e-5, "noise/3"]}, iterations=7))
    names = ("cg-sparsity-0.03", "cg-sparsity-1e-05", "cg-sparsity-noise_3")
    assert tuple(config.reconstructions) == ("plain", *names, "cg-sparsity-0.2")
    assert config.sweeps["cg"].names == names
    written = [{**FISTA, "iterations": 7, "sparsity": value} for value in (0.03, 1e-5, "noise/3")]
    expected = load_config({"reconstructions": dict(zip(names, written, strict=True))})
    assert {name: config.reconstructions[name] for name in names} == expected.reconstructions


@pytest.mark.parametrize(
    ("sweep", "names"),
    [
        ({"shape": [[48, 64], [96, 128]]}, ["cg-shape-48x64", "cg-shape-96x128"]),
        ({"weights": ["none", "density"]}, ["cg-weights-none", "cg-weights-density"]),
        ({"force_model": [True, False]}, ["cg-force_model-true", "cg-force_model-false"]),
    ],
)
def test_values_of_all_kinds_give_names(sweep, names):
    assert list(load_config(_config(sweep)).sweeps["cg"].names) == names


def test_a_row_gets_all_values_or_some(tmp_path):
    config = load_config(_config({"sparsity": [0.01, 0.02]}))
    table = tmp_path / "datasets.tsv"
    rows = ["a\tmri\tnative\tx\tplain,cg", "b\tmri\tnative\ty\tcg-sparsity-0.02"]
    table.write_text("\n".join(["\t".join(DATASET_COLUMNS), *rows]))
    found = load_datasets(table, config)
    assert found["a"].reconstructions == ("plain", "cg-sparsity-0.01", "cg-sparsity-0.02")
    assert found["b"].reconstructions == ("cg-sparsity-0.02",)
    table.write_text(table.read_text().replace("plain,cg", "cg,cg-sparsity-0.02"))
    with pytest.raises(ConfigError, match="line 2: dataset `a` names a reconstruction twice"):
        load_datasets(table, config)


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"sparsity": [0.01, 3]}, r"`reconstructions.cg-sparsity-3.sparsity.*less than 1 \(found"),
        ({"sparsity": [0.01, 0.2]}, "two reconstructions have the name `cg-sparsity-0.2`"),
        ({"sparsity": [0.01, 0.01]}, "of `cg`: a value of 0.01, 0.01 stands twice"),
        ({"sparsity": [0.01, "1e-2"]}, "`cg-sparsity-0.01` and `cg-sparsity-1e-2` are the same"),
        ({"sparsity": [0.01]}, "`sparsity` needs a list of at least two values"),
        ({"sparsity": 0.01}, "`sparsity` needs a list of at least two values"),
        ({"sparsity": [0.01, None]}, "the value None gives no name"),
        ({"sparsty": [0.01, 0.02]}, "of `cg`: unknown key `sparsty`; did you mean `sparsity`"),
        ({3: [0.01, 0.02]}, "of `cg`: unknown key `3`"),
        ({"points": [3, 4]}, r"of `cg`: fista does not use `points` \(of omp\)"),
        ({"penalty": ["tv", "l1"]}, "`penalty` is also given beside it"),
        ({"sparsity": [0.01, 0.02], "iterations": [3, 4]}, "expected one setting"),
        ([0.01, 0.02], "expected one setting"),
    ],
)
def test_faulty_sweeps_are_refused_in_a_line(sweep, message):
    with pytest.raises(ConfigError, match=message) as told:
        load_config(_config(sweep))
    assert "\n" not in str(told.value)


def test_an_editor_allows_a_sweep_also_of_what_an_algorithm_needs():
    check = jsonschema.Draft202012Validator(config_schema()).is_valid
    assert check(_config({"sparsity": [0.01, 0.02]}))
    assert not check(_config({"sparsity": [0.01]}))
    omp = {"algorithm": "omp", "sweep": {"points": [5, 9]}}
    assert check({"reconstructions": {"a": omp}})
    assert len(load_config({"reconstructions": {"a": omp}}).reconstructions) == 2
    assert not check({"reconstructions": {"a": {"algorithm": "omp"}}})
