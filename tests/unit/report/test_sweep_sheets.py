"""The sheet of a sweep, on made-up results."""

import base64
import re

import numpy as np
import pytest
from reported import reported
from results_tree import write_run

from pipeline.config.sweeps import Sweep
from pipeline.errors import ConfigError
from pipeline.report.charts import l_curve, misfit_curve
from pipeline.report.sweeps import penalty_value
from pipeline.storage.publish import read_json, write_json

VALUES = {"0.03": (0.21, 40.0), "0.001": (0.05, 900.0), "0.01": (0.09, 300.0)}


def swept(results, setting):
    runs = []
    for value, (misfit, penalty) in VALUES.items():
        name = f"tv-{setting}-{value}"
        level = 0.03 * (1 + len(runs))
        run = write_run(results, reconstruction=name, shape=(14, 19), misfit=misfit, level=level)
        receipt = run.receipts / "reconstruct-0000.json"
        told = {"penalty": "tv", "penalty_value": [penalty]}
        write_json(receipt, {**read_json(receipt), **told})
        runs.append(run)
    text = f"tv:{setting}:{','.join(reversed(VALUES))}"
    return reported(results, [*runs, write_run(results, shape=(14, 19))], sweeps=[text])


def sheet(html):
    (found,) = re.findall(r'<figure class="sweep">.*?</figure>', html, re.DOTALL)
    return found


def test_a_sheet_has_the_values_in_their_order_with_misfit_and_quality(tmp_path):
    found = sheet(swept(tmp_path, "sparsity"))
    assert re.findall(r"<b>(.*?)</b>", found) == ["0.01", "0.001", "0.03"]
    assert re.findall(r"misfit (\S+?),", found) == ["0.09", "0.05", "0.21"]
    errors = [float(error) for error in re.findall(r"NRMSE ([\d.]+)", found)]
    assert errors[2] < errors[1] < errors[0]  # as noisy as they were made, in another order
    assert re.findall(r'href="#(.*?)"', found)[0] == "head--tv-sparsity-0.01"
    assert "L-curve" in found


def test_where_no_penalty_is_swept_the_misfit_stands_over_the_values(tmp_path):
    found = sheet(swept(tmp_path, "iterations"))
    assert "L-curve" not in found
    assert "Misfit of each value of iterations" in found


def test_a_sweep_of_another_dataset_has_no_sheet(tmp_path):
    html = reported(tmp_path, [write_run(tmp_path, shape=(14, 19))], sweeps=["tv:sparsity:1,2"])
    assert 'class="sweep"' not in html


def _points(source):
    """Return where the curve of a chart has its corners, ``[point, (across, down)]``."""
    svg = base64.b64decode(source.partition(",")[2]).decode()
    path = re.search(r'<g id="line2d_\d+">\s*<path d="(M [^"]*?)" clip-path', svg).group(1)
    return np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), dtype=float)


def _shape(positions):
    return np.diff(positions) / np.ptp(positions)


def test_curves_lie_where_logarithms_put_them():
    misfits, penalties = np.array([0.05, 0.09, 0.21]), np.array([900.0, 300.0, 40.0])
    across, down = _points(l_curve([*zip("abc", misfits, penalties, strict=True)])).T
    assert _shape(across) == pytest.approx(_shape(np.log(misfits)), abs=1e-3)
    assert _shape(-down) == pytest.approx(_shape(np.log(penalties)), abs=1e-3)
    across, down = _points(misfit_curve([*zip("abc", misfits, strict=True)], "x")).T
    assert np.diff(across, 2) == pytest.approx(0, abs=1e-3)
    assert _shape(-down) == pytest.approx(_shape(np.log(misfits)), abs=1e-3)


def test_the_penalty_is_that_of_all_blocks_or_unknown():
    one, other = {"penalty_value": [1.0, 2.5]}, {"penalty_value": [4.0]}
    assert penalty_value({"blocks": [one, other]}) == 7.5
    assert np.isnan(penalty_value({"blocks": [one, {}]}))
    assert np.isnan(penalty_value({}))


def test_a_sweep_is_what_its_option_says():
    sweep = Sweep("tv", "sparsity", ("0.1", "noise_3"))
    assert Sweep.of_option(str(sweep)) == sweep
    with pytest.raises(ConfigError, match="expected NAME:SETTING:VALUE,VALUE"):
        Sweep.of_option("tv:sparsity")
