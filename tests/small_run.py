"""One small reconstruction, stage by stage: two frames, three coils, two shards."""

import functools

import numpy as np

from pipeline.config.datasets import Dataset, stage_settings
from pipeline.config.file import load_config
from pipeline.engine.table import read_plan
from pipeline.stages.accumulate import accumulate
from pipeline.stages.calibrate import calibrate
from pipeline.stages.ingest import ingest
from pipeline.stages.merge import merge
from pipeline.stages.plan import plan
from pipeline.stages.reconstruct import reconstruct
from pipeline.storage.publish import open_published
from pipeline.storage.verification import verify

CONFIG = {
    "memory": {"host_mb": 4000, "shards": 2},
    "compute": {"deterministic": True},
    "output": {"nifti": False},
    "sources": {
        "small": {
            "shape": [12, 14],
            "simulation": {
                "trajectory": "golden-radial",
                "readouts": 9,
                "samples": 24,
                "coils": 3,
                "frames": 2,
                "snr_db": 30.0,
            },
        }
    },
    "reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": 2}},
}


class Run:
    """The stages of one small reconstruction, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.raw, self.calibration = folder / "raw.json", folder / "calibration.json"
        self.plan, self.shares = folder / "cg/plan.tsv", folder / "cg/shares"
        self.image = folder / "cg/image.json"
        config = load_config(CONFIG)
        dataset = Dataset(
            dataset="small", kind="mri", format="simulation", source="shepp-logan",
            reconstructions=["cg"],
        )  # fmt: skip
        self.settings = functools.partial(stage_settings, config, dataset)

    def arguments(self, stage, name=None, **more):
        folder = self.folder if stage in ("ingest", "calibrate") else self.folder / "cg"
        own = {} if stage in ("ingest", "calibrate") else {"reconstruction": "cg"}
        settings = "reconstruct" if stage == "accumulate" else stage
        return {
            "settings": self.settings(settings, "cg"),
            "dataset": "small",
            "receipt": folder / f"receipts/{name or stage}.json",
            **own,
            **more,
        }

    def prepare(self):
        device = {"device": "cpu", "threads": 1}
        raw = {"raw": self.raw}
        both = {**raw, "calibration": self.calibration}
        ingest(**self.arguments("ingest", **raw))
        calibrate(**self.arguments("calibrate", **both, **device))
        plan(**self.arguments("plan", **both, plan=self.plan, **device))

    def all(self):
        """Run every stage; return the run."""
        self.prepare()
        self.accumulate()
        self.reconstruct()
        self.merge()
        return self

    def accumulate(self):
        for piece in read_plan(self.plan).shards("0000"):
            accumulate(
                **self.arguments("accumulate", f"accumulate-0000-{piece.shard}"),
                raw=self.raw, calibration=self.calibration, plan=self.plan, block="0000",
                shard=piece.shard, share=self.shares / f"0000-{piece.shard}.zarr.zip",
                device="cpu", threads=1,
            )  # fmt: skip

    def reconstruct(self):
        reconstruct(
            **self.arguments("reconstruct", "reconstruct-0000"),
            raw=self.raw, calibration=self.calibration, plan=self.plan, block="0000",
            shares=self.shares, image=self.folder / "cg/blocks/0000.zarr.zip",
            device="cpu", threads=1,
        )  # fmt: skip

    def merge(self):
        merge(
            **self.arguments("merge"),
            raw=self.raw, plan=self.plan, blocks=[self.folder / "cg/blocks/0000.zarr.zip"],
            image=self.image, threads=1,
        )  # fmt: skip

    def images(self):
        return np.asarray(open_published(self.image)["image"][:])

    def go_on_after(self, file):
        """Run the stages that read a file and those after them, and read the images."""
        name = file.relative_to(self.folder).as_posix()
        stages = [self.accumulate, self.reconstruct, self.merge]
        if name.startswith("cg/shares"):
            stages = stages[1:]
        elif name.startswith("cg/blocks") or "receipts/" in name:
            stages = stages[2:]
        elif name.startswith("cg/image"):
            stages = []
        for stage in stages:
            stage()
        verify(self.image)
