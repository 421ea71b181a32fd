"""One module and one function per stage: it reads files, calls the rooms below it, writes files.

The same signatures and texts make the commands (`pipeline.cli`). What several stages take is said
here once, and what is a stage's own at the stage.

Parameters
----------
settings
    The stage's settings: JSON, or a YAML or JSON file.
dataset
    Name of the dataset.
reconstruction
    Name of the reconstruction.
raw
    Marker of the raw data, raw.json.
calibration
    Marker of the calibration, calibration.json.
plan
    The plan, plan.tsv.
block
    Name of the block in the plan.
image
    Marker of the image, image.json.
receipt
    Where the receipt goes.
device
    auto, cpu, cuda or cuda:N.
threads
    CPU threads to use.
host_mb, device_mb
    Limit as in `memory` of the config [MB], or auto.
"""
