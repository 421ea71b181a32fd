"""Calibrate the acquisition of a folder, as `raw.json` names it."""

from acquisitions import DEVICE

from pipeline.config.calibration import CalibrateSettings
from pipeline.stages.calibrate import calibrate
from pipeline.storage.calibration import Calibration


def calibrated_in(
    folder, *, dataset="scan", device=DEVICE, threads=1, instruments=None, **calibration
):
    """Return the calibration beside ``raw.json``, by these settings; the receipt lies there too."""
    calibrate(
        settings=CalibrateSettings.model_validate(
            {"calibration": calibration, "nufft": {}, "instruments": instruments}
        ),
        dataset=dataset,
        raw=folder / "raw.json",
        calibration=folder / "calibration.json",
        receipt=folder / "calibrate.json",
        device=device,
        threads=threads,
    )
    return Calibration.open(folder / "calibration.json")
