"""The magnitude as a BIDS derivative: a dataset of one subject, with its provenance [1]_.

Each image is a NIfTI file of its own, as the suffixes of anatomical images ask for; several images
are runs, which share one sidecar. A single one is the same file as ``magnitude.nii.gz`` where that
is written too.

References
----------
.. [1] The Brain Imaging Data Structure 1.11, "Derived dataset and pipeline description".
"""

import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

from pipeline.engine.images import Images
from pipeline.merge.nifti import require_sizes, write_nifti
from pipeline.merge.outputs import Merged, Output, not_of_patients
from pipeline.merge.slabs import slab_bytes
from pipeline.storage.bids_provenance import activity, provenance_files

_VERSION = "1.11.1"


def write_bids(path: Path, merged: Merged) -> None:
    """Write the dataset into a folder."""
    subject, description = f"sub-{_label(merged.dataset)}", _label(merged.reconstruction)
    ending = f"desc-{description}_{merged.settings.bids}"
    (path / subject / "anat").mkdir(parents=True)
    (path / "prov").mkdir()
    count = merged.images.shape[0]
    for number in range(count):
        run = f"run-{number + 1}_" if count > 1 else ""
        file = path / subject / "anat" / f"{subject}_{run}{ending}.nii.gz"
        if count == 1 and "nifti" in merged.written:
            _same_file(merged.written["nifti"], file)
        else:
            write_nifti(file, merged, range(number, number + 1))
    description_of_dataset = {
        "Name": f"Images of {merged.title}",
        "BIDSVersion": _VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "Kronufft", "Version": version("kronufft")}],
    }
    sidecar = {
        "Description": f"Magnitude, reconstructed with the settings {merged.reconstruction}",
        "Units": "arbitrary",
        "SkullStripped": False,
        "GeneratedBy": activity("merge"),
    }
    contents = {
        "dataset_description.json": description_of_dataset,
        f"{subject}/anat/{subject}_{ending}.json": sidecar,
        **provenance_files(merged.history()),
    }
    for name, content in contents.items():
        (path / name).write_text(json.dumps(content, indent=2) + "\n")
    (path / "README.md").write_text(
        f"Images of {merged.dataset}, reconstructed by Kronufft with the settings "
        f"`{merged.reconstruction}`. How, step by step, stands in `prov/`.\n"
    )
    # The files of provenance are younger than the version above.
    (path / ".bidsignore").write_text("/prov\n")


def _label(name: str) -> str:
    """Return a name as BIDS allows it: letters and digits."""
    return re.sub("[^A-Za-z0-9]", "", name) or "0"


def _same_file(existing: Path, path: Path) -> None:
    try:
        path.hardlink_to(existing)
    except OSError:  # a file system without links
        shutil.copyfile(existing, path)


def _check(shape: tuple[int, ...]) -> None:
    require_sizes(shape[1:], "output.bids")


def _needs(images: Images, threads: int) -> dict[str, int]:
    return {"BIDS: a row of chunks": slab_bytes(images, 3)}


OUTPUT = Output(
    about="Magnitude, BIDS derivative",
    encoding="application/json",
    write=write_bids,
    needs=_needs,
    check=_check,
    folder=True,
    unsuited=not_of_patients,
)
