#!/usr/bin/env bash
# Resolve pyproject.toml into the pinned lists that `make` installs (Linux and macOS, Python 3.11 to 3.13).
# torch is pinned, but what it needs is left to its own wheel: a CPU build must not be made to
# download CUDA, and a CUDA build brings the CUDA it was made for.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-uv}
# Whoever installs the library has a range; the pin is raised by hand, where the tests have run with it.
torch=$(grep '^torch==' envs/requirements.txt)

resolve() { # output, extras...
    local output=$1 extras=(); shift
    for extra in "$@"; do extras+=(--extra "$extra"); done
    "$uv" pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
        "${extras[@]}" --constraints <(echo "$torch") pyproject.toml |
        grep -vE '^(nvidia-(cublas|cuda-|cudnn|cufft|cufile|curand|cusolver|cusparse|nccl|nvjitlink|nvshmem|nvtx)|cuda-|triton)' |
        { echo "# Made by envs/lock.sh from pyproject.toml; do not edit."; cat; } >"$output"
}

resolve envs/requirements.txt ducc torchkbnufft scanners sar vna cluster bench referee docs dev
