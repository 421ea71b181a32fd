import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import zarr

import kronufft

CONFIG = """
datasets: {folder}/table.tsv
sources:
  spiral:
    shape: [96, 96]
    simulation: {{trajectory: spiral, readouts: 16, samples: 1200, coils: 6, frames: 1, snr_db: 30}}
reconstructions:
  gridding: {{algorithm: gridding}}
  sense: {{algorithm: cg-sense}}
"""
TABLE = """dataset\tkind\tformat\tsource\treconstruction
spiral\tmri\tsimulation\tshepp-logan\tgridding,sense
"""
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "config.yaml").write_text(CONFIG.format(folder=folder))
    Path(folder, "table.tsv").write_text(TABLE)
    made = kronufft.run(f"{folder}/config.yaml", results=f"{folder}/results")

    figure, axes = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
    for axis, ((dataset, way), files) in zip(axes, made.items()):
        stored = zarr.open(files.image.with_name("image.zarr"))["image"]  # (frame, z, y, x)
        axis.imshow(abs(stored[0, 0]), cmap="gray")
        axis.set_title(f"{dataset}, {way}")
        axis.axis("off")
