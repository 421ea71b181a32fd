"""The free-breathing example in figures: the breath that was found, and what binning gains.

``python tests/benchmarks/free_breathing.py`` runs ``config/examples/free-breathing.yaml`` with two
threads and prints the correlation of the navigator with the breath, the mean error over all bins of
their images and of the joined image, seconds and memory. Words of YAML change settings:
``'binned: {sparsity: 0.3}'``, ``'source: {shape: [24, 24, 24]}'``.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from breathing_truth import error_of, true_image
from calibrating import calibrated_in
from planned_jobs import run_jobs
from stage_runs import files_in
from workflow_runs import ROOT

from benchmarks.defaults import say
from pipeline.config.sources import IngestSettings
from pipeline.mri.formats.simulation import SimulatedScan
from pipeline.stages.ingest import ingest
from pipeline.storage.archives import open_archive


def main() -> None:
    """Run the example, changed by the words on the command line."""
    config = yaml.safe_load((ROOT / "config/examples/free-breathing.yaml").read_text())
    (source,) = config["sources"].values()
    changed = {**config["reconstructions"], "source": source, "simulation": source["simulation"]}
    changed["binning"] = config["calibration"]["binning"]
    for word in sys.argv[1:]:
        for name, values in yaml.safe_load(word).items():
            changed[name].update(values)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "scan"
        folder.mkdir()
        _run(folder, source, config)


def _run(folder: Path, source: dict[str, Any], config: dict[str, Any]) -> None:
    settings = IngestSettings.model_validate(
        {"kind": "mri", "format": "simulation", "source": "breathing", "details": source}
    )
    ingest(settings=settings, dataset="scan", raw=folder / "raw.json", receipt=folder / "i.json")
    found = calibrated_in(folder, threads=2, **config["calibration"])
    shape = tuple(source["shape"])
    depths = SimulatedScan(settings.details.simulation, shape, "breathing").depths(0, slice(None))
    correlation = np.corrcoef(found.array("navigator/signal").ravel(), depths)[0, 1]
    images = {}
    for name, chosen in config["reconstructions"].items():
        ((row, receipt),) = run_jobs(folder, {**chosen, "calibration": config["calibration"]})
        with open_archive(files_in(folder).block("0000")) as group:
            images[name] = group["image"][:]
        measured = receipt["peak_host_bytes"] / 1e6
        say(f"{name}: {receipt['seconds']:.0f} s, {measured:.0f} MB of {row.host_mb} MB predicted")
    errors = []
    for number, image in enumerate(images["binned"]):
        truth = true_image(shape, np.average(depths, weights=found.bin(number).ravel()))
        errors.append([error_of(each, truth) for each in (image, images["joined"][0])])
    of_bins, of_joined = np.mean(errors, axis=0)
    say(
        f"navigator {correlation:.3f}, joined image wrong by {of_joined:.4f}, bins by {of_bins:.4f}"
    )
    say(f"which is {of_bins / of_joined:.3f} of it")


if __name__ == "__main__":
    main()
