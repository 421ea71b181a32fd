"""Programs in processes of their own, forked from one that has loaded their packages already.

What most short programs of a test do for most of their time is to import. Here a server does that
once, and each program is a fork of it, with arguments, environment, folder and output as given. Of
this package itself the server loads nothing.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

PRELOADED = {
    "snakemake": "snakemake.cli snakemake.workflow snakemake.report pydantic yaml",
    # What every job on data loads. Others of its packages would count towards its memory.
    "kronufft": "torch zarr typer pydantic yaml psutil filelock finufft",
}
PROGRAMS = {
    "snakemake": "from snakemake.cli import main; main()",
    "kronufft": "from pipeline.cli import main; main()",
}
# Stands before the installed command on the path of what is started here.
SHIM = """#!{python} -IS
import sys
sys.path.insert(0, {folder!r})
from forked import ask
sys.exit(ask({address!r}, {program!r}, sys.argv, pass_on=True))
"""


def forked(program, *arguments, cwd, code=None):
    """Run a program as its command would; return its status and all that it says."""
    address, _ = _server(program)
    with tempfile.TemporaryFile() as output:
        environment = {**os.environ, "PATH": command_path()}
        argv = [program, *map(str, arguments)]
        status = ask(
            address, code or PROGRAMS[program], argv, output.fileno(), cwd=cwd, env=environment
        )
        output.seek(0)
        return status, output.read().decode()


def command_path():
    """Return a PATH on which `kronufft` is a fork."""
    return f"{_commands()}:{os.environ['PATH']}"


def ask(address, code, argv, output=None, *, cwd=None, env=None, pass_on=False):
    """Have a server run a program; return its status."""
    outputs = [1, 2] if pass_on else [output, output]
    what = {
        "code": code,
        "argv": argv,
        "cwd": str(cwd or Path.cwd()),
        "env": dict(env or os.environ),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        message = json.dumps(what).encode()
        socket.send_fds(connection, [len(message).to_bytes(8, "big")], outputs)
        connection.sendall(message)
        answer = connection.recv(1)
    return answer[0] if answer else 137  # it was killed


@functools.cache
def _commands():
    """The folder of the command that Snakemake's jobs start."""
    folder = Path(_temporary_folder())
    shim = folder / "kronufft"
    shim.write_text(
        SHIM.format(
            python=sys.executable,
            folder=str(Path(__file__).parent),
            address=_server("kronufft")[0],
            program=PROGRAMS["kronufft"],
        )
    )
    shim.chmod(0o755)
    return folder


@functools.cache
def _temporary_folder():
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return folder.name


def server_process(program):
    """Return the process whose children are a program's; each is named by its first argument."""
    import psutil  # not by the server, which loads nothing that counts towards a program's memory

    return psutil.Process(_server(program)[1])


@functools.cache
def _server(program):
    """Start a server, which ends with this process; return its address and its number."""
    address = f"{_temporary_folder()}/{program}.socket"
    server = subprocess.Popen(
        [sys.executable, __file__, address, *PRELOADED[program].split()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    server.stdout.readline()
    atexit.register(server.communicate)
    return address, server.pid


def _serve(address, *packages):
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command itself does
    for package in packages:
        importlib.import_module(package)
    sys.path.pop(0)  # the folder of the tests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            if os.fork() == 0:
                os._exit(_run(connection))
            connection.close()


def _run(connection):
    """Be the program that is asked for; tell its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, outputs, _, _ = socket.recv_fds(connection, 8, 2)
    message = b""
    while len(message) < int.from_bytes(length, "big"):
        message += connection.recv(2**16)
    what = json.loads(message)
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(what["env"])
    os.chdir(what["cwd"])
    sys.argv = what["argv"]
    with contextlib.suppress(OSError, IndexError):
        Path("/proc/self/comm").write_text(sys.argv[1])
    status = 0
    try:
        exec(what["code"], {"__name__": "__main__"})
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        connection.sendall(bytes([status]))
    return status


if __name__ == "__main__":
    _serve(*sys.argv[1:])
