"""Fixtures for all tests: real photos, the real pipeline, and datasets and indexes made once."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from filelock import FileLock
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from beam_jobs.runners.worker_server import keep_worker_server
from faces.core.contract import ModelContract
from faces.core.limited import _workers, process_server
from faces.core.machine import available_threads, cache_dir
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline
from faces.photos.limited_listing import PRELOADED
from facetrove.demo_photos import fetch_demo_photos
from tests.support.command import (
    SMALL_COLLECTION_PHOTOS,
    embedded_once,
    indexed_once,
    session_cache,
)

TOGETHER = {
    "tests/beam_jobs/test_kept_ids_of_jobs.py",
    "tests/beam_jobs/test_reembed.py",
    "tests/faces/dataset/test_importers.py",
    "tests/faces/models/test_deepface_models.py",
    "tests/faces/models/test_weights.py",
    "tests/faces/models/test_yunet.py",
    "tests/facetrove/cli/test_columns.py",
    "tests/facetrove/cli/test_hand_on.py",
    "tests/facetrove/cli/test_index_and_search.py",
    "tests/facetrove/evaluation/test_corruptions.py",
    "tests/facetrove/service/test_page.py",
    "tests/facetrove/service/test_page_people.py",
    "tests/facetrove/test_article.py",
    "tests/facetrove/test_docs.py",
    "tests/facetrove/test_notebook.py",
    "tests/facetrove/test_relocation.py",
}
"""Modules with fixtures that take long: all tests of such a module run in one process, which makes
them once."""


class Scheduling(LoadScopeScheduling):
    """A scheduler that gives single tests to free processes, but keeps some modules together.

    xdist's own `--dist loadgroup` and `xdist_group` have no effect with pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if module in TOGETHER else nodeid


def pytest_xdist_auto_num_workers() -> int:
    """Return one test process more than there are cores: tests wait for processes and files."""
    return available_threads() + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Have each test process begin with other modules when it collects all tests.

    In a fresh checkout, pytest rewrites the asserts of every module, which takes seconds, and keeps
    the result. So each process does that for some modules, and finds those of the others.
    """
    worker = getattr(config, "workerinput", None)
    if worker is not None and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        modules = sorted(map(str, Path(__file__).parent.rglob("test_*.py")))
        number = int(worker["workerid"].removeprefix("gw"))
        start = len(modules) * number // worker["workercount"]
        config.args = modules[start:] + modules[:start]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of all of LFW, and run what takes longest first.

    That is modules that are kept together, then others with slow tests. So all test processes have
    work until the end.
    """
    for item in items:
        if {"lfw_dataset", "lfw_index"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.lasting)
    with_long_tests = {item.path for item in items if item.get_closest_marker("slow")}

    def order(item: pytest.Item) -> tuple[bool, bool, Path]:
        is_together = item.nodeid.partition("::")[0] in TOGETHER
        return not is_together, item.path not in with_long_tests, item.path

    items.sort(key=order)


def pytest_collection_finish() -> None:
    """Exempt all imported modules from garbage collection, which then takes less time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_register(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests register out of the register of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACETROVE_CONFIG", str(tmp_path_factory.mktemp("register")))
        yield


@pytest.fixture(scope="session", autouse=True)
def limited_processes() -> Iterator[None]:
    """Start the server of limited processes with all that they need, and close what is open.

    If a test that only decodes photos started it, every later process that lists photos would
    import what it needs for that. The connections to those that decode and read photos last as long
    as this process, which would complain of them at its end.
    """
    process_server(PRELOADED)
    yield
    for worker in list(_workers):
        worker.close()


@pytest.fixture(scope="session", autouse=True)
def worker_processes() -> Iterator[None]:
    """Keep one server of worker processes, from which the workers of all jobs are forked."""
    with keep_worker_server():
        yield


@pytest.fixture
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has the networks of the shared one but no models, with a register of its own."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "weights").symlink_to(cache_dir() / "weights")
    monkeypatch.setenv("FACETROVE_CACHE", str(cache))
    monkeypatch.setenv("FACETROVE_CONFIG", str(tmp_path_factory.mktemp("register")))
    return cache


@pytest.fixture(scope="session")
def demo_photos() -> Path:
    """The folder of nine real photos: four of one president, three of others, two of nobody."""
    with session_cache():
        return fetch_demo_photos()[0]


@pytest.fixture(scope="session")
def probe_photo() -> Path:
    """A portrait of the president that is not among `demo_photos`."""
    with session_cache():
        return fetch_demo_photos()[1]


@pytest.fixture(scope="session")
def pipeline() -> FacePipeline:
    with session_cache():
        return load_pipeline(threads=1)


@pytest.fixture(scope="session")
def lfw() -> Path:
    """The folder of LFW's photos and pairs, in FACETROVE_TEST_DATA; skips the test without it."""
    data = os.environ.get("FACETROVE_TEST_DATA")
    if not data:
        pytest.skip("FACETROVE_TEST_DATA is not set; see README, Tests")
    return Path(data) / "lfw"


@pytest.fixture(scope="session")
def lfw_dataset(shared_dir: Path, lfw: Path) -> Path:
    """The dataset of all LFW photos, embedded by the real command. Tests must not change it."""
    return embedded_once(shared_dir / "lfw.dataset", lfw / "photos", timeout=600)


@pytest.fixture(scope="session")
def lfw_index(shared_dir: Path, lfw_dataset: Path) -> Path:
    """The index of `lfw_dataset`. Tests must not change it."""
    return indexed_once(shared_dir / "lfw.index", lfw_dataset)


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def demo_dataset(shared_dir: Path, demo_photos: Path) -> Path:
    """The dataset of `demo_photos`, embedded by the real command. Copy it to change it."""
    return embedded_once(shared_dir / "demo.dataset", demo_photos)


@pytest.fixture(scope="session")
def demo_index(shared_dir: Path, demo_dataset: Path) -> Path:
    """The index of `demo_dataset`. Copy it to change it."""
    return indexed_once(shared_dir / "demo.index", demo_dataset)


@pytest.fixture(scope="session")
def small_collection(shared_dir: Path, demo_photos: Path) -> Path:
    """A folder of 160 small photos, which a job takes seconds to embed.

    They are the demo photos at several sizes and JPEG qualities.
    """
    folder = shared_dir / "small-collection"
    with FileLock(shared_dir / "small-collection.lock"):
        if not folder.exists():
            draft = shared_dir / "small-collection.draft"
            draft.mkdir()
            sources = sorted(demo_photos.iterdir())
            for number in range(SMALL_COLLECTION_PHOTOS):
                source = sources[number % len(sources)]
                size = number % 64
                with PIL.Image.open(source) as original:
                    photo = original.convert("RGB")
                photo.thumbnail((200 + 5 * size, 200 + 5 * size))
                photo.save(draft / f"{number:03d}-{source.stem}.jpg", quality=60 + size // 2)
            draft.rename(folder)
    return folder


@pytest.fixture(scope="session")
def slow_photo(shared_dir: Path) -> Path:
    """A large photo of noise that takes a worker a second or two: time to interrupt a run."""
    path = shared_dir / "slow" / "slow.png"
    with FileLock(shared_dir / "slow.lock"):
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            noise = np.random.default_rng(0).integers(0, 255, (8000, 8000), dtype=np.uint8)
            PIL.Image.fromarray(noise).save(path, compress_level=1)
    return path


@pytest.fixture
def contract() -> ModelContract:
    """A contract of an imaginary model with 8 dimensions."""
    return ModelContract("finder", "aa" * 32, "template", "namer", "bb" * 32, dimension=8)
