"""A process that has loaded all of facetrove, and forks for every command that a test runs.

Loading is most of what a small command does. Each command is still a process of its own, with its
own arguments, environment, folder and output, and ends as the console script does; only what it
loads is there already. That the console script loads it by itself is tested where tests run
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
PACKAGES = ("faces", "indexer", "beam_jobs", "search", "facetrove")


class CommandServer:
    """The process, and what is said to it."""

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
        """Run `facetrove` with these arguments; as `subprocess.run` does, capturing its output."""
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
        print(request, file=self._process.stdin, flush=True)  # to the process
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that runs commands has ended"
        return line


@cache
def command_server() -> CommandServer:
    """The one of this test process, started when first asked for."""
    return CommandServer()


def serve() -> None:
    """Fork for each request; returns in the child, which then is to be the command."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            become(*json.loads(line))
            return
        print(pid, flush=True)  # noqa: T201  # to the test process
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
    sys.exit()


def become(
    arguments: list[str], environment: dict[str, str], folder: str, output: str, errors: str
) -> None:
    """Take over what a process of its own would have been started with."""
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
    os.environ.update({**set_by_modules, **environment})  # as loading would: it overrides nothing
    os.chdir(folder)
    sys.argv = ["facetrove", *arguments]


def end(command: Callable[[], None]) -> NoReturn:
    """Run a command, and end as its process would, but for destructors.

    C++ aborts where it finds a thread that was not forked with the process, as gRPC's.
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
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


if __name__ == "__main__":
    load_everything()
    gc.collect()
    gc.freeze()  # else each fork, as it ends, looks through all that was loaded
    serve()
    end(main)
