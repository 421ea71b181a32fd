"""Complex images as files of the Berkeley Advanced Reconstruction Toolbox, written as a stream.

BART numbers dimensions from the fastest one: x, y and z are 0 to 2, coefficients 6, frames 10
(time). Its files tell neither sizes of voxels nor positions.
"""

from pathlib import Path

from pipeline.engine.images import Images
from pipeline.merge.outputs import Merged, Output
from pipeline.merge.slabs import image_slabs, slab_bytes

_DIMENSIONS = 16
_DIMENSION = {"frame": 10, "coefficient": 6}


def write_bart(path: Path, merged: Merged) -> None:
    """Write images as ``image.cfl`` and ``image.hdr`` into a folder, complex64."""
    path.mkdir()
    frames, *volume = merged.images.shape
    sizes = [1] * _DIMENSIONS
    sizes[:3] = reversed(volume)
    sizes[_DIMENSION[merged.along]] = frames
    header = "# Dimensions\n" + " ".join(map(str, sizes)) + "\n"
    (path / "image.hdr").write_text(header)
    with (path / "image.cfl").open("wb") as file:
        for slab in image_slabs(merged.images):
            file.write(slab.astype("<c8", copy=False).data)


def _needs(images: Images, threads: int) -> dict[str, int]:
    return {"BART: a row of chunks": slab_bytes(images, 3)}


OUTPUT = Output(
    about="Complex images, BART",
    encoding="application/octet-stream",
    write=write_bart,
    needs=_needs,
    folder=True,
)
