"""The live view of a run, where Snakemake looks for it: `snakemake --logger kronufft`.

Snakemake loads it before it reads the Snakefile, which says where the package `pipeline` is: that
is imported once there are jobs.
"""

import logging
import sys
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from pipeline.live.jobs import Jobs

_PICTURES_A_SECOND = 2

_SAID_BETTER = ("CalledProcessError in file", "job did not complete successfully")
"""Of a job that failed: its whole command, and that there is one; both after its own line."""


class LogHandler(LogHandlerBase):
    """Shows how a run goes on, where standard error is a terminal and jobs run.

    Where it shows nothing, such as in a dry run, it says that it writes to no stream, and Snakemake
    logs as it does by itself. So does `--verbose` and `--printshellcmds`.
    """

    def __post_init__(self) -> None:
        common = self.common_settings
        plain = common.dryrun or common.verbose or common.printshellcmds or common.quiet
        self._live: Live | None = None
        self._shows = sys.stderr.isatty() and not plain
        self._begun = False
        self._access = threading.Lock()

    @cached_property
    def _jobs(self) -> "Jobs":
        from pipeline.live.jobs import Jobs

        return Jobs()

    @property
    def writes_to_stream(self) -> bool:
        """Whether it takes the place of Snakemake's lines."""
        return self._shows

    writes_to_file = False
    has_filter = True
    has_formatter = False
    needs_rulegraph = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of an event; what no picture shows is printed above it."""
        if self._shows:
            try:
                with self._access:
                    line = self._note(vars(record))
                # Its first picture takes the same lock.
                if self._live is None and self._begun:
                    self._start()
                said = record.getMessage()
                warns = record.levelno >= logging.WARNING and "event" not in vars(record)
                if line or warns or said == NOTHING_TO_BE_DONE_MSG:
                    self._print(line or said)
            except Exception:
                self.handleError(record)

    def _note(self, told: dict[str, Any]) -> str:
        """Take note of an event; return what is to stand above the picture."""
        match told.get("event"):
            case LogEvent.RUN_INFO:
                self._jobs.expects(told["stats"])
            case LogEvent.JOB_INFO:
                self._jobs.begins(told["jobid"], told)
            case LogEvent.JOB_FINISHED:
                self._jobs.ends(told["job_id"])
            case LogEvent.JOB_ERROR:
                if found := self._jobs.fails(told["jobid"], told):
                    job, reason = found
                    return f"failed: {job.name} · {job.stage} {job.part}".rstrip() + f": {reason}"
            case LogEvent.PROGRESS:
                self._jobs.finished, self._jobs.total = told["done"], told["total"]
                self._begun = self._jobs.total > 0
            case LogEvent.ERROR if not any(text in str(told.get("msg")) for text in _SAID_BETTER):
                return str(told["msg"])
        return ""

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(stderr=True),
            get_renderable=self._picture,
            refresh_per_second=_PICTURES_A_SECOND,
            transient=True,
        )
        self._live.start()

    def _picture(self) -> "RenderableType":
        from pipeline.live.memory import resident_by_log
        from pipeline.live.view import shown

        with self._access:
            logs = [str(job.log) for job in self._jobs.running.values()]
            return shown(self._jobs, resident_by_log(logs))

    def _print(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr)  # noqa: T201

    def close(self) -> None:
        """Take the picture away: what the run has made is told by then."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        super().close()
