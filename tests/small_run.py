"""One small reconstruction, stage by stage: two frames, three coils, two shards."""

import numpy as np

from pipeline.config.datasets import Dataset
from pipeline.in_process import ResultPaths, run
from pipeline.storage.publish import open_published
from pipeline.storage.verification import verify

CONFIG = {
    "memory": {"host_mb": 4000, "shards": 2},
    "compute": {"deterministic": True, "device": "cpu", "threads": 1},
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

    def __init__(self, results):
        self.files = ResultPaths(results, "small", "cg")
        self.folder = self.files.of_dataset
        self.dataset = Dataset(
            dataset="small", kind="mri", format="simulation", source="shepp-logan",
            reconstructions=["cg"],
        )  # fmt: skip

    def stages(self, first, until="merge"):
        run(CONFIG, self.dataset, "cg", self.files.results, first=first, until=until)

    def all(self):
        """Run every stage; return the run."""
        self.stages("ingest")
        return self

    def images(self):
        return np.asarray(open_published(self.files.image)["image"][:])

    def go_on_after(self, file):
        """Run the stages that read a file and those after them, and read the images."""
        name = file.relative_to(self.folder).as_posix()
        if name.startswith("cg/shares"):
            self.stages("reconstruct")
        elif name.startswith("cg/blocks") or "receipts/" in name:
            self.stages("merge")
        elif not name.startswith("cg/image"):
            self.stages("accumulate")
        verify(self.files.image)
