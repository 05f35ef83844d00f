from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from faces.core.limited import (
    LimitedServer,
    LimitedWorker,
    OverLimitError,
    RequestFailedError,
    RequestLimits,
    WorkerDiedError,
)

HANDLERS = "tests.support.limited_handlers"


@pytest.fixture(scope="module")
def server() -> Iterator[LimitedServer]:
    server = LimitedServer.started([HANDLERS])
    yield server
    server.close()


@pytest.fixture
def worker(server: LimitedServer) -> Iterator[LimitedWorker]:
    worker = LimitedWorker(lambda: server)
    yield worker
    worker.close()


@pytest.mark.parametrize("size", [0, 5, 70_000, 3_000_001])
def test_a_request_and_its_answer_pass_unchanged_whatever_their_size(
    worker: LimitedWorker, size: int
) -> None:
    block = os.urandom(size)
    answer = worker.call("faces.core.limited_server:echo", {"a": ["ü", 1.5, None]}, block)
    assert answer.message["a"] == ["ü", 1.5, None]
    assert bytes(answer.block) == block


def test_a_worker_may_ask_before_it_answers(worker: LimitedWorker) -> None:
    answer = worker.call(
        f"{HANDLERS}:ask", {}, b"abc", on_question=lambda asked: {"so many": asked["how many"]}
    )
    assert (answer.message["so many"], bytes(answer.block)) == (3, b"cba")


def test_a_request_over_its_processor_time_ends_within_a_second(worker: LimitedWorker) -> None:
    worker.call(f"{HANDLERS}:pid", {})
    start = time.process_time(), sum(os.times()[:2])
    with pytest.raises(OverLimitError) as caught:
        worker.call(f"{HANDLERS}:spin", {}, limits=RequestLimits(0.3))
    assert caught.value.limit == "time"
    assert time.process_time() - start[0] < 0.2  # the other process computed, not this one
    assert worker.call(f"{HANDLERS}:pid", {}).seconds < 0.3


def test_a_request_over_its_memory_fails_and_the_next_does_not(worker: LimitedWorker) -> None:
    limits = RequestLimits(10, 100_000_000)
    with pytest.raises(OverLimitError) as caught:
        worker.call(f"{HANDLERS}:allocate", {"size": 400_000_000}, limits=limits)
    assert caught.value.limit == "memory"
    answer = worker.call(f"{HANDLERS}:allocate", {"size": 60_000_000}, limits=limits)
    assert answer.message["size"] == 60_000_000
    assert worker.call(f"{HANDLERS}:allocate", {"size": 400_000_000}).message["size"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_told_with_its_signal_and_the_worker_replaced(
    worker: LimitedWorker, number: signal.Signals
) -> None:
    before = worker.call(f"{HANDLERS}:pid", {}).message["pid"]
    with pytest.raises(WorkerDiedError) as caught:
        worker.call(f"{HANDLERS}:crash", {"signal": number})
    assert caught.value.signal == number
    start = time.monotonic()
    assert worker.call(f"{HANDLERS}:pid", {}).message["pid"] != before
    assert time.monotonic() - start < 5  # forked, not started anew
    assert worker.num_started == 3  # a crash is tried twice


def test_an_error_keeps_its_name_and_text(worker: LimitedWorker) -> None:
    with pytest.raises(RequestFailedError) as caught:
        worker.call(f"{HANDLERS}:refuse", {})
    assert (caught.value.kind, caught.value.text) == ("ValueError", "no such thing")


def test_a_server_that_was_killed_is_started_again() -> None:
    servers: list[LimitedServer] = []

    def newest() -> LimitedServer:
        if not servers or servers[-1]._process is None or servers[-1]._process.poll() is not None:
            servers.append(LimitedServer.started([HANDLERS]))
        return servers[-1]

    worker = LimitedWorker(newest)
    worker.call(f"{HANDLERS}:pid", {})
    assert servers[0]._process is not None
    servers[0]._process.kill()
    servers[0]._process.wait()
    assert worker.call(f"{HANDLERS}:pid", {}).message["pid"]
    worker.close()
    for server in servers:
        server.close()


def test_workers_end_when_the_process_that_asked_does(tmp_path: Path) -> None:
    worker_pid = tmp_path / "pid"
    parent = os.fork()
    if not parent:
        server = LimitedServer.started([HANDLERS])
        worker = LimitedWorker(partial(lambda server: server, server))
        worker_pid.write_text(str(worker.call(f"{HANDLERS}:pid", {}).message["pid"]))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    end = time.monotonic() + 10
    while Path("/proc", worker_pid.read_text()).exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path("/proc", worker_pid.read_text()).exists()


def test_threads_share_a_worker(worker: LimitedWorker) -> None:
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(50):
            answer = worker.call("faces.core.limited_server:echo", {"number": number})
            if answer.message["number"] != number:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
