"""BART's files that are wrong or damaged."""

from pathlib import Path
from random import Random

from inputs.acquired import bart_given, damaged
from inputs.trial import Trial, ingested, kind, whole


@kind("bart: header", 16)
def bart_header(chance: Random) -> Trial:
    made = bart_given()
    sizes = chance.choice(
        ["", "0", "-1 28 26 2", "1 28 26 2 1 1 1 1 1 1 1 1", "1 28 26", "28 1 26 2", "a b c",
         "1e3 2", "9" * 5000, "1000000000 1000000000", "1 28 26 1 2", "1 28 26 1 1 1 1 1 1 1 2",
         "1 14 26 2 1 1 1 1 1 1 2", "\x00", "1 28 26 2 " + "1 " * 3000]
    )  # fmt: skip
    base = chance.choice(["ksp", "traj", "sens"])
    Path(f"{base}.hdr").write_text(f"# Dimensions\n{sizes}\n")
    made.write()
    return Trial(whole("merge"), named=("scan", base), about=f"{base}: {sizes[:40]}")


@kind("bart: damaged", 10)
def bart_damaged(chance: Random) -> Trial:
    made = bart_given()
    path = Path(chance.choice(["ksp", "traj", "sens"]) + chance.choice([".cfl", ".hdr"]))
    content, about = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    made.write()
    return Trial(whole("merge"), named=("scan", path.stem), about=f"{path} {about}")


@kind("bart: names", 6)
def bart_names(chance: Random) -> Trial:
    made = bart_given()
    made.config["sources"]["scan"]["bart"]["kspace"] = chance.choice(
        ["", ".", "..", "/", "ksp.cfl", "\x00", "x" * 5000, "nothing", "traj", "sens", "a/b"]
    )
    made.write()
    return Trial(ingested, "refused", ("scan", "ksp", "config.yaml"))
