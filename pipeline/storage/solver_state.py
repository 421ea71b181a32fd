"""The state of a long solve beside the block it is for, so that a killed job goes on from it.

One NumPy archive of plain arrays, whose checksums `zipfile` verifies, written whole or not at all.
It names what it belongs to: a state of other settings, data or code is never used.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.storage.publish import published_file
from pipeline.storage.sealed import DAMAGE

if TYPE_CHECKING:
    import torch

_ABOUT = "about"
_SHARE_OF_TIME = 20
"""Writing takes at most one part in so many of the time of a solve."""


def state_path(image: Path) -> Path:
    """Return where the state of a block's solves lies, beside its image."""
    return image.with_name(f"{image.name}.state.npz")


class SolverState:
    """Keeps the state of a job's solves in a file, every so many ``seconds``; 0 keeps none.

    ``fingerprint`` tells apart all that the result depends on: a file with another one is ignored.
    It is asked only when a state is read or written. ``who`` begins what is said in the log.
    ``resumed`` is the solve that went on, and after how many iterations; ``written`` counts the
    states.
    """

    def __init__(
        self, path: Path, *, fingerprint: Callable[[], str], seconds: float, who: str
    ) -> None:
        self.path, self.seconds, self.who = path, seconds, who
        self.resumed: dict[str, Any] | None = None
        self.written = 0
        self._fingerprint = cache(fingerprint)
        self._due = time.monotonic() + seconds

    def solve(self, name: str) -> SolveState:
        """Return the checkpoint of the solve ``name``."""
        return SolveState(self, name)

    def load(self, name: str) -> dict[str, torch.Tensor] | None:
        """Return the state of the solve ``name``, if it is this that was interrupted."""
        import torch

        if not self.seconds:
            return None
        try:
            # Opened here: of a broken archive NumPy would leave the file open.
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                about = json.loads(str(stored[_ABOUT]))
                if (about.get("fingerprint"), about.get("solve")) != (self._fingerprint(), name):
                    return None
                names = [name for name in stored.files if name != _ABOUT]
                state = {name: torch.from_numpy(stored[name]) for name in names}
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            self._say(f"the state in {self.path} is not readable ({error}); beginning again")
            return None
        self.resumed = {"solve": name, "iteration": about["iteration"]}
        self._say(f"{name} goes on after iteration {about['iteration']}")
        return state

    def offer(
        self, name: str, iteration: int, state: Callable[[], Mapping[str, torch.Tensor]]
    ) -> None:
        """Write the state if enough time has passed since the last one."""
        begun = time.monotonic()
        if not self.seconds or begun < self._due:
            return
        about = {"fingerprint": self._fingerprint(), "solve": name, "iteration": iteration}
        arrays = {key: value.detach().cpu().numpy() for key, value in state().items()}
        try:
            with published_file(self.path) as temporary, temporary.open("wb") as file:
                np.savez(file, **{**arrays, _ABOUT: np.array(json.dumps(about))})  # type: ignore[arg-type]
        except OSError as error:  # a full disk, say: the solve itself needs none
            self._say(f"cannot keep the state of the solve ({error}); going on without")
            self.seconds = 0.0
            return
        self.written += 1
        ended = time.monotonic()
        self._due = ended + max(self.seconds, _SHARE_OF_TIME * (ended - begun))

    def remove(self) -> None:
        """Delete the file, once what it was for has been published."""
        self.path.unlink(missing_ok=True)

    def _say(self, text: str) -> None:
        print(f"{self.who}: {text}", file=sys.stderr, flush=True)  # noqa: T201


class SolveState:
    """The checkpoint of one solve, as solvers know it."""

    def __init__(self, file: SolverState, name: str) -> None:
        self._file, self._name = file, name

    def restore(self) -> dict[str, torch.Tensor] | None:
        """Return the state that was kept, or `None` to begin."""
        return self._file.load(self._name)

    def offer(self, iteration: int, state: Callable[[], Mapping[str, torch.Tensor]]) -> None:
        """Keep the state if it is time to."""
        self._file.offer(self._name, iteration, state)
