"""Good inputs in every layout that the settings can tell: accepted, and their image is right."""

from pathlib import Path
from random import Random

import numpy as np

from inputs.acquired import (
    AXES,
    CONTAINERS,
    SHAPE,
    acquisition,
    arrays_given,
    bart_given,
    given,
    misfit,
    simulated,
    write_container,
    write_native,
    zip_folder,
)
from inputs.trial import Trial, kind, kinds, whole


def _stored(name: str, values: np.ndarray, chance: Random, container: str):
    """Return an array as it might be stored, and how a config says so."""
    axes = list(AXES[name])[-values.ndim :]
    said: dict = {}
    if name == "trajectory":
        unit = chance.choice(["rad_per_voxel", "cycles_per_voxel", "cycles_per_fov", "rad_per_m"])
        size = {"cycles_per_voxel": 2 * np.pi, "cycles_per_fov": 2 * np.pi / np.array(SHAPE),
                "rad_per_m": 1e-3}.get(unit, 1.0)  # fmt: skip
        values, said["units"] = values / size, unit
        if chance.random() < 0.4:
            values, said["axis_order"] = values[..., ::-1], ["x", "y"]
    if chance.random() < 0.3:
        factor = chance.choice([2.0, 1e-4, 1e4])
        values, said["scale"] = values * factor, 1 / factor
    if name != "trajectory" and chance.random() < 0.3:
        values, said["conjugate"] = values.conj(), True
    order = list(range(values.ndim))
    chance.shuffle(order)
    values, axes = values.transpose(order), [axes[i] for i in order]
    for at in range(values.ndim - 1):
        if set(axes[at : at + 2]) == {"readout", "sample"} and chance.random() < 0.5:
            shape = (*values.shape[:at], -1, *values.shape[at + 2 :])
            values = values.reshape(shape)
            axes[at : at + 2] = [" ".join(axes[at : at + 2])]
            break
    if chance.random() < 0.3 and not container.startswith("mat5"):
        at = chance.randrange(values.ndim + 1)
        values, axes = np.expand_dims(values, at), [*axes[:at], "1", *axes[at:]]
    if container.startswith("mat5") and values.ndim < 2:
        values, axes = values[None], ["1", *axes]
    if chance.random() < 0.4:
        values = values.astype(np.complex64 if values.dtype.kind == "c" else np.float32)
    if chance.random() < 0.2 and not container.startswith("mat"):
        values = values.astype(values.dtype.newbyteorder(">"))
    if chance.random() < 0.4:
        values = np.asfortranarray(values)
    return values, {**said, "axes": axes}


@kinds("good layout", CONTAINERS, 8)
def layout(chance: Random, container: str) -> Trial:
    frames = chance.choice([1, 1, 3])
    arrays, mapping = {}, {}
    for name, values in acquisition(frames).items():
        stored, said = _stored(name, values, chance, container)
        if stored.dtype.kind == "c" and chance.random() < 0.3 and container != "npy":
            arrays[f"{name}_re"], arrays[f"{name}_im"] = stored.real.copy(), stored.imag.copy()
            mapping[name] = {"real": f"{name}_re", "imag": f"{name}_im", **said}
        else:
            arrays[name] = stored
            mapping[name] = {"name": name, **said}
    source, files = write_container(container, arrays)
    for name, file in files.items():
        del mapping[name]["name"]
        mapping[name]["file"] = file
    made = given("arrays", source, arrays=mapping, samples_per_readout=28, readouts_per_frame=26)
    made.write()
    about = f"{frames} frames, { ({name: entry['axes'] for name, entry in mapping.items()}) }"
    return Trial(whole("merge"), "accepted", wrong=lambda: misfit(frames), about=about)


@kind("good: bart")
def bart(chance: Random) -> Trial:
    bart_given().write()
    return Trial(whole("merge"), "accepted", wrong=misfit)


def _codecs(chance: Random):
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

    codecs = [[], [GzipCodec()], [BloscCodec()], [ZstdCodec()], [Crc32cCodec()],
              [ZstdCodec(), Crc32cCodec()]]  # fmt: skip
    return chance.choice(codecs)


@kind("good: native")
def native(chance: Random) -> Trial:
    codecs = _codecs(chance)
    write_native(compressors=codecs)
    source = "raw.zarr"
    if chance.random() < 0.5:
        zip_folder("raw.zarr", "raw.zarr.zip")
        source = "raw.zarr.zip"
    made = given("native", source)
    made.write()
    return Trial(whole("merge"), "accepted", wrong=misfit, about=f"{source} {codecs}")


@kind("good: the whole chain")
def chain(chance: Random) -> Trial:
    made = arrays_given(chance.choice(CONTAINERS))
    made.config["output"] = {"ome_zarr": True, "nifti": True}
    made.write()
    return Trial(whole(), "accepted", wrong=lambda: misfit() or _page())


def _page() -> str | None:
    return None if "scan" in Path("results/report.html").read_text() else "nothing in the report"


@kind("good: simulation")
def simulation(chance: Random) -> Trial:
    made = simulated(snr_db=chance.choice([5.0, 30.0, None]), frames=chance.choice([1, 2]),
                     trajectory=chance.choice(["golden-radial", "spiral"]))  # fmt: skip
    made.write()
    return Trial(whole("measure"), "accepted")
