"""A server process that has imported all of facetrove and forks for every command of a test.

Importing takes most of the time of a small command. Each command still runs in a process of its
own, with its own arguments, environment, working folder and output, and ends as the console script
does. That the console script works without the server is tested where tests run
`facetrove_command`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

from facetrove.cli.main import main

ROOT = Path(__file__).parents[2]

STARTED_WITH = frozenset(os.environ)
"""Names of the environment variables before the program's modules are imported."""

PACKAGES = ("faces", "indexer", "beam_jobs", "search", "facetrove")
"""Packages whose modules the server imports."""

LEFT_OUT = ("facetrove.training.networks.", "facetrove.__main__")
"""Beginnings of the names of modules that it does not: TensorFlow does not survive a fork."""


class CommandServer:
    """The server process, as its client sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        atexit.register(self._process.terminate)

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
        assert self._process.stdin is not None
        print(request, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the command server has ended"
        return line


@cache
def command_server() -> CommandServer:
    """Return the server of this test process, which the first call starts."""
    return CommandServer()


def serve() -> None:
    """Fork for each request, and return in the child, which then runs the command."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            become(*json.loads(line))
            return
        print(pid, flush=True)  # noqa: T201  # read by the client, as is the exit code
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
    sys.exit()


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
    serve()
    end(main)
