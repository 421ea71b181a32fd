"""A small workflow to run: three reconstructions of two datasets, one of them in two blocks."""

import json
from pathlib import Path

import numpy as np
import yaml
from forked import forked

ROOT = Path(__file__).parents[1]
STAGES = [
    "ingest", "calibrate", "plan", "accumulate", "reconstruct", "merge", "measure", "report",
]  # fmt: skip

CONFIG = {
    "datasets": "datasets.tsv",
    "data_root": "data",
    "memory": {"host_mb": 4000, "block_images": 3},
    # So that a run can be compared with another to the last byte.
    "compute": {"deterministic": True, "device": "cpu"},
    "sources": {
        "series": {
            "shape": [24, 32],
            "simulation": {
                "trajectory": "golden-radial",
                "readouts": 13,
                "samples": 64,
                "coils": 3,
                "frames": 5,
                "snr_db": 30.0,
            },
        },
        "still": {
            "shape": [24, 20],
            "arrays": {
                "kspace": {"name": "kspace", "axes": ["coil", "readout", "sample"]},
                "trajectory": {
                    "name": "trajectory",
                    "axes": ["readout", "sample", "axis"],
                    "units": "cycles_per_voxel",
                },
            },
        },
    },
    "reconstructions": {
        "gridding": {"algorithm": "gridding"},
        "cg": {"algorithm": "cg-sense", "iterations": 4},
        "cg-all": {"algorithm": "cg-sense", "iterations": 3, "frames_per_image": "all"},
    },
}
TABLE = [
    ["dataset", "kind", "format", "source", "reconstruction"],
    ["series", "mri", "simulation", "shepp-logan", "cg,cg-all"],
    ["still", "mri", "arrays", "still.npz", "gridding"],
]


def write_config(folder, content):
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def write_table(folder, rows):
    (folder / "datasets.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")


def changed(**groups):
    """Return the config with some keys of its groups changed."""
    content = json.loads(json.dumps(CONFIG))
    for group, keys in groups.items():
        content.setdefault(group, {}).update(keys)
    return content


def prepare(folder):
    """Write config, table and source."""
    write_config(folder, CONFIG)
    write_table(folder, TABLE)
    (folder / "data").mkdir()
    write_source(folder, seed=1)


def write_source(folder, seed):
    random = np.random.default_rng(seed)
    angles = np.pi * np.arange(11) / 11
    radii = (np.arange(30) - 15) / 30
    trajectory = radii[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=-1)[:, None, :]
    kspace = random.standard_normal((2, 11, 30)) + 1j * random.standard_normal((2, 11, 30))
    np.savez(folder / "data/still.npz", kspace=kspace, trajectory=trajectory)


def snakemake(folder, *arguments, check=True, root=ROOT, snakefile="Snakefile", **how):
    """Run snakemake in ``folder``; return all that it says."""
    status, output = forked(
        "snakemake",
        *("--snakefile", root / snakefile, "--directory", folder),
        *("--configfile", folder / "config.yaml", "--cores", "2", *arguments),
        cwd=folder,
        **how,
    )
    assert not check or status == 0, output
    return output


def pending(folder, *arguments, **how):
    """Return the stages that a run would repeat, with the number of jobs of each."""
    output = snakemake(folder, "--dry-run", *arguments, **how)
    if "Nothing to be done" in output:
        return {}
    counts = {}
    for line in output[output.index("Job stats:") :].splitlines()[3:]:
        if not line.strip():
            break
        name, count = line.split()
        if name in STAGES:
            counts[name] = int(count)
    return counts
