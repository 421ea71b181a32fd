"""The examples of ``config/examples``, their stages one after the other in this process."""

from pathlib import Path
from typing import Any

from pipeline.config.base import load_yaml
from pipeline.config.datasets import load_datasets
from pipeline.config.file import load_config
from pipeline.in_process import ResultPaths, Stage, run

ROOT = Path(__file__).parents[1]


class Example:
    """An example, whose results go below a folder."""

    def __init__(self, name: str, folder: Path, **changes: Any) -> None:
        content = load_yaml(ROOT / f"config/examples/{name}.yaml")
        content |= {
            # Files for viewers are tested elsewhere.
            "output": {"ome_zarr": False, "nifti": False},
            "compute": {"device": "cpu", "threads": 2},
            **changes,
        }
        self.config = load_config(content)
        self.datasets = load_datasets(ROOT / self.config.datasets, self.config)
        self.folder = folder

    def run(self, dataset: str, *, until: Stage) -> dict[str, ResultPaths]:
        """Run all reconstructions of a dataset; return where each lies."""
        made = {}
        first: Stage = "ingest"
        row = self.datasets[dataset]
        for name in row.reconstructions:
            made[name] = run(self.config, row, name, self.folder, first=first, until=until)
            first = "plan"
        return made
