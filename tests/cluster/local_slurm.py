"""A SLURM of one node on this machine's loopback, with its own folder for everything.

`python tests/cluster/local_slurm.py start /tmp/slurm` starts it and prints the variable that points
SLURM's commands to it; `stop /tmp/slurm` ends it. Debian and Ubuntu: `apt-get install slurm-wlm
munge`. Needs root, because only root's daemons may start jobs. All that is left outside the folder,
as long as the cluster runs, is the link /etc/slurm/slurm.conf: Snakemake's plugin takes SLURM_CONF
away from the steps of a job. A machine with a SLURM of its own has that file and is left alone.
What an interrupted test left is ended by the next one, which knows it by a lock that nobody holds.

The node claims more cores than the machine has: the jobs of the tests mostly start interpreters.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

DAEMONS = ("munged", "slurmctld", "slurmd")
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")
CORES = 8
GPUS = 2

# Memory is watched by polling once a second: control groups are not to be had in most containers.
SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/slurmctld
SlurmdSpoolDir={folder}/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=2
MinJobAge=3600
KillWait=2
JobRequeue=0
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory_mb} Gres=gpu:{gpus}
PartitionName=all Nodes={host} Default=YES DefaultTime=30 MaxTime=INFINITE
"""


def reason_to_skip() -> str | None:
    """Return why no SLURM can be started here; None if one can."""
    if os.geteuid() != 0:
        return "starting SLURM needs root"
    absent = [name for name in (*DAEMONS, "sbatch") if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: apt-get install slurm-wlm munge)"
    if SYSTEM_CONF.exists() and left_behind() is None:
        return (
            f"{SYSTEM_CONF} is there: a SLURM of this machine's own, or of a test that is running"
        )
    return None


def left_behind() -> "LocalSlurm | None":
    """Return the cluster of a test that was interrupted before it could stop it."""
    if not SYSTEM_CONF.is_symlink():
        return None
    cluster = LocalSlurm(SYSTEM_CONF.readlink().parent)
    if not Path(cluster.lock.lock_file).exists():
        return None
    with contextlib.suppress(Timeout), cluster.lock.acquire(timeout=0):
        return cluster
    return None


class LocalSlurm:
    """The cluster whose files lie in ``folder``.

    Parameters
    ----------
    folder
        A folder of its own; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = FileLock(folder / "in-use")
        """Held by the test that the cluster is for; one that was started by hand has none."""
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        # What a job of another cluster was given must not reach into this one.
        for name in list(self.environment):
            if name.startswith(("SLURM_JOB", "SBATCH_", "SRUN_")):
                del self.environment[name]

    def command(self, *arguments: str, check: bool = True) -> str:
        """Run a command of SLURM against this cluster and return what it prints."""
        done = subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start(self) -> None:
        """Start the three daemons; return when the node takes jobs."""
        self._write_configuration()
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.unlink(missing_ok=True)  # a link to a folder that is gone
        SYSTEM_CONF.symlink_to(self.folder / "slurm.conf")
        munge = self.folder / "munge"
        self._spawn(
            *("munged", f"--socket={munge}/socket", f"--key-file={munge}/key"),
            *(f"--pid-file={self.folder}/munged.pid", f"--log-file={munge}/log"),
            *(f"--seed-file={munge}/seed",),
        )
        self._wait("munge answers", (munge / "socket").is_socket)
        self._spawn("slurmctld")
        self._wait("slurmctld answers", lambda: "UP" in self.command("scontrol", "ping"))
        self._spawn("slurmd")
        self._wait("the node is idle", lambda: self.node_state() == "idle")

    def stop(self) -> None:
        """End all jobs and daemons."""
        if self._process("slurmctld") is not None:
            self.command("scancel", "--user=root", check=False)
            with contextlib.suppress(TimeoutError):
                self._wait("jobs are gone", lambda: not self.queue())
        for daemon in reversed(DAEMONS):
            self._end(daemon)
        if SYSTEM_CONF.is_symlink() and SYSTEM_CONF.readlink().parent == self.folder:
            SYSTEM_CONF.unlink()

    def queue(self) -> dict[str, tuple[str, str]]:
        """Return state and comment of each job that waits or runs, by its number."""
        lines = self.command(
            "squeue", "--noheader", "--states=PENDING,RUNNING,COMPLETING", "--format=%i|%T|%k"
        ).splitlines()
        return {job: (state, comment) for job, state, comment in (x.split("|", 2) for x in lines)}

    def history(self) -> list[dict[str, str]]:
        """Return what SLURM knows of every job since the start."""
        jobs = self.command("scontrol", "--oneliner", "show", "jobs").splitlines()
        return [
            dict(word.split("=", 1) for word in job.split() if "=" in word)
            for job in jobs
            if job.startswith("JobId=")
        ]

    def node_state(self) -> str:
        """Return the node's state in SLURM's words, such as ``idle`` or ``draining``."""
        return self.command("sinfo", "--noheader", "--format=%T").rstrip("*")

    def _write_configuration(self) -> None:
        folder = self.folder
        for name in ("munge", "slurmctld", "slurmd", "gpus"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for entered in (folder, folder / "munge"):
            entered.chmod(0o755)
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10 // 2**20
        ports = _free_ports(2)
        (folder / "slurm.conf").write_text(
            SLURM_CONF.format(
                host=_host(),
                folder=folder,
                controller_port=ports[0],
                node_port=ports[1],
                cores=CORES,
                memory_mb=memory_mb,
                gpus=GPUS,
            )
        )
        # Twins of /dev/null: SLURM counts them as devices and tells each job which are its own.
        for number in range(GPUS):
            device = folder / "gpus" / f"gpu{number}"
            if not device.exists():
                os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpus/gpu[0-{GPUS - 1}]\n")

    def _spawn(self, *command: str) -> None:
        log = self.folder / f"{command[0]}.out"
        with log.open("w") as file:
            done = subprocess.run(
                command, env=self.environment, stdout=file, stderr=file, check=False
            )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {log.read_text().strip()}")

    def _process(self, daemon: str) -> int | None:
        """Return the number of a daemon's process, if it is that daemon and lives."""
        try:
            process = int((self.folder / f"{daemon}.pid").read_text())
            name = Path(f"/proc/{process}/comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return process if name == daemon else None

    def _end(self, daemon: str) -> None:
        process = self._process(daemon)
        if process is None:
            return
        os.kill(process, signal.SIGTERM)
        try:
            self._wait(f"{daemon} ends", lambda: self._process(daemon) is None)
        except TimeoutError:
            os.kill(process, signal.SIGKILL)

    def _wait(self, what: str, done: Callable[[], bool], seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(RuntimeError):
                if done():
                    return
            time.sleep(0.1)
        raise TimeoutError(f"{seconds:.0f} s passed before {what}; logs are in {self.folder}")


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def main() -> None:
    """Start or stop a cluster from the shell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    cluster = LocalSlurm(chosen.folder.resolve())
    if chosen.action == "stop":
        cluster.stop()
        return
    reason = reason_to_skip()
    if reason is not None:
        sys.exit(reason)
    cluster.start()
    sys.stdout.write(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}\n")


if __name__ == "__main__":
    main()
