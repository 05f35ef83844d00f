"""A server process that has imported all of facetrove and forks for every command of a test.

Importing takes most of the time of a small command. Each command still runs in a process of its
own, with its own arguments, environment, working folder and output, and ends as the console script
does. That the console script works without the server is tested where tests run
`facetrove_command`.

All test processes of a run share the server, which forks once for each of them; that child then
forks for the commands. The test process that needs the server first starts it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NoReturn, TextIO

from filelock import FileLock

from beam_jobs.runners import worker_server
from beam_jobs.runners.worker_server import WorkerServer
from faces.core.limited import LimitedServer, fork_server
from faces.photos.limited_listing import PRELOADED as LISTING
from facetrove.cli.main import main

ROOT = Path(__file__).parents[2]

STARTED_WITH = frozenset(os.environ)
"""Names of the environment variables before the program's modules are imported."""

PACKAGES = ("faces", "indexer", "beam_jobs", "search", "facetrove")
"""Packages whose modules the server imports."""

LEFT_OUT = (
    *("facetrove.training.networks.", "facetrove.__main__"),
    *(f"facetrove.export.{name}" for name in ("lance", "milvus", "postgres", "qdrant")),
)
"""Beginnings of the names of modules that it does not: TensorFlow and clients of databases, which
are extras, do not survive a fork."""

JOBS = frozenset({"embed", "import", "measure", "join"})
"""Commands that start worker processes."""

FOLDER = Path(
    tempfile.gettempdir(), f"commands-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
)
"""The folder of the server's socket, the same in all processes of a run of tests."""


class CommandServer:
    """The connection of a test process to the server."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        with FileLock(FOLDER / "lock"):
            try:
                self._connection.connect(str(FOLDER / "socket"))
            except OSError:
                self._process = self._started()
                self._connection.connect(str(FOLDER / "socket"))
        self._stream = self._connection.makefile("rw")
        self._lock = threading.Lock()
        atexit.register(self._close)

    def _started(self) -> subprocess.Popen[bytes]:
        with socket.socket(socket.AF_UNIX) as listener:
            (FOLDER / "socket").unlink(missing_ok=True)
            listener.bind(str(FOLDER / "socket"))
            listener.listen()
            return subprocess.Popen(
                [sys.executable, "-m", __name__, str(FOLDER), str(listener.fileno())],
                cwd=ROOT,
                stdin=subprocess.PIPE,  # the server ends when this is closed
                pass_fds=[listener.fileno()],
            )

    def _close(self) -> None:
        self._stream.close()
        self._connection.close()
        if self._process is not None:
            self._process.communicate()

    def run(self, arguments: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run `facetrove` with arguments, and capture its output as `subprocess.run` does.

        Raises:
            subprocess.TimeoutExpired: the command took longer than `timeout` seconds; it is killed.
        """
        with self._lock, tempfile.TemporaryDirectory() as folder:
            streams = [Path(folder, name) for name in ("output", "errors")]
            request = [arguments, dict(os.environ), str(Path.cwd()), *map(str, streams)]
            pid = int(self._ask(json.dumps(request)))
            killer = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
            killer.start()
            exit_code = int(self._answer())
            too_long = not killer.is_alive()
            killer.cancel()
            texts = [stream.read_text() for stream in streams]
        if too_long:
            raise subprocess.TimeoutExpired(["facetrove", *arguments], timeout, *texts)
        return subprocess.CompletedProcess(["facetrove", *arguments], exit_code, *texts)

    def _ask(self, request: str) -> str:
        print(request, file=self._stream, flush=True)
        return self._answer()

    def _answer(self) -> str:
        line = self._stream.readline()
        assert line, "the command server has ended"
        return line


@cache
def command_server() -> CommandServer:
    """Return this test process's connection to the server, which the first call makes."""
    return CommandServer()


def serve(folder: Path, listener: socket.socket) -> None:
    """Fork for each test process that connects, and return in the child that runs a command.

    When the process that started the server has ended, the server ends too. The others keep their
    children of it.
    """
    waited_for = [sys.stdin, listener]
    while ready := select.select(waited_for, [], [], 0 if sys.stdin not in waited_for else None)[0]:
        if sys.stdin in ready:
            shutil.rmtree(folder, ignore_errors=True)
            waited_for.remove(sys.stdin)
        if listener in ready:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                with connection, connection.makefile("rw") as stream:
                    return run_requests(stream)
            connection.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    os._exit(0)


def run_requests(stream: TextIO) -> None:
    """Fork for each request of a test process, and return in the child, to run the command."""
    for line in stream:
        pid = os.fork()
        if pid == 0:
            become(*json.loads(line))
            return
        print(pid, file=stream, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=stream, flush=True)
    os._exit(0)


def become(
    arguments: list[str], environment: dict[str, str], folder: str, output: str, errors: str
) -> None:
    """Take on the arguments, environment, working folder and output of the requested command."""
    for name, flags, target in (
        (os.devnull, os.O_RDONLY, 0),
        (output, os.O_WRONLY | os.O_CREAT, 1),
        (errors, os.O_WRONLY | os.O_CREAT, 2),
    ):
        file = os.open(name, flags)
        os.dup2(file, target)
        os.close(file)
    set_by_modules = {name: os.environ[name] for name in os.environ.keys() - STARTED_WITH}
    os.environ.clear()
    # A variable that a module sets does not override one that is set already.
    os.environ.update({**set_by_modules, **environment})
    os.chdir(folder)
    sys.argv = ["facetrove", *arguments]
    if JOBS.intersection(arguments[:1]):
        prepare_servers()


def prepare_servers() -> None:
    """Fork the servers of a job's processes, which a user's command starts as new processes.

    This process has imported all that they import, and has no threads.
    """
    fork_server(LISTING)
    worker_server._kept.append(
        WorkerServer(LimitedServer.forked(worker_server.PRELOADED), BytesIO())
    )


def end(command: Callable[[], None]) -> NoReturn:
    """Run a command and end the process with its exit code, without C++ destructors.

    Destructors abort when they find that a thread is missing: gRPC's threads are not forked.
    """
    try:
        command()
        exit_code = 0
    except SystemExit as exit_:
        exit_code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are not daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(exit_code)


def load_everything() -> None:
    """Import every module of the program."""
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            if not module.name.startswith(LEFT_OUT):
                importlib.import_module(module.name)


if __name__ == "__main__":
    load_everything()
    gc.collect()
    gc.freeze()  # otherwise each child, as it ends, collects garbage among all modules
    serve(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
    end(main)
