"""What is handed over: licence and metadata, wheel and sdist, and that they work when installed."""

from __future__ import annotations

import email
import json
import re
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import facetrove as ft
from faces.models.catalog import list_models
from faces.models.deepface_weights import library
from facetrove.service.page_routes import page_files
from tests.support.command import ONE_WORKER, ROOT
from tests.support.installed import (
    ROOMS,
    Distribution,
    Environment,
    borrowing_environment,
    distribution_once,
)


def pyproject(folder: Path = ROOT) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def requirements(listed: list[str]) -> dict[str, Requirement]:
    return {found.name: found for found in map(Requirement, listed)}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}


# What stands in several places, and where it may stand in one only


def test_the_version_stands_in_one_place() -> None:
    assert pyproject()["project"]["dynamic"] == ["version"]
    attribute = pyproject()["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "facetrove.__version__"
    spelled = re.compile(rf"(?<![\d.=]){re.escape(ft.__version__)}(?![\d.]*\d)")
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    files += [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile"]
    saying = {str(path.relative_to(ROOT)) for path in files if spelled.search(path.read_text())}
    assert saying == {"facetrove/__init__.py", "CHANGELOG.md"}


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall("^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0].split()[0] == ft.__version__


def test_deepface_s_message_names_the_packages_of_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "faces.models.deepface_library", None)
    monkeypatch.delattr("faces.models.deepface_library", raising=False)  # loaded by another test
    with pytest.raises(ft.ModelUnavailableError) as caught:
        library()
    (command,) = re.findall("`pip install ([^`]*)`", str(caught.value))
    extra = requirements(pyproject()["project"]["optional-dependencies"]["deepface"])
    assert requirements(command.split()).keys() == extra.keys()
    assert f"deepface{extra['deepface'].specifier}" in command


def test_no_message_or_document_advises_to_install_facetrove_by_name() -> None:
    """It is not on PyPI: whoever took the name there would be installed."""
    by_name = re.compile(r"pip install [^`\n]*(?<![\w./-])facetrove")
    files = [path for room in (*ROOMS, "examples") for path in (ROOT / room).rglob("*.py")]
    for path in [*files, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "Makefile"]:
        assert not by_name.search(path.read_text()), path


def test_the_stand_in_for_faiss_gpu_passes_for_it_and_brings_the_same_faiss() -> None:
    asked = requirements(pyproject()["project"]["dependencies"])
    stand_in = pyproject(ROOT / "cpu-only")["project"]
    assert stand_in["name"] == "faiss-gpu"
    assert stand_in["version"] in asked["faiss-gpu"].specifier
    assert stand_in["version"] == pinned()["faiss-gpu"] + "+cpu"
    assert stand_in["dependencies"] == [f"faiss-cpu=={pinned()['faiss-cpu']}"]
    assert pinned()["faiss-cpu"] in asked["faiss-cpu"].specifier


def test_every_dependency_has_a_tested_version_in_its_range() -> None:
    project = pyproject()["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["deepface"]]
    for name, asked in requirements(listed).items():
        assert pinned()[canonicalize_name(name)] in asked.specifier, name


def test_tested_versions_can_be_installed_on_the_oldest_python() -> None:
    """pip leaves versions out that want a newer Python, and then says that nothing fits."""
    oldest = pyproject()["project"]["requires-python"].removeprefix(">=").split(",")[0] + ".0"
    wanted = {
        name: installed.metadata["Requires-Python"]
        for name in pinned()
        for installed in distributions(name=name)
    }
    assert len(wanted) > 100
    assert {
        name: python
        for name, python in wanted.items()
        if python is not None and not SpecifierSet(python).contains(oldest)
    } == {}


def test_the_notice_names_every_model_that_may_not_be_used_commercially() -> None:
    notice = (ROOT / "NOTICE").read_text()
    refused = [card.name for card in list_models() if card.commercial == "no"]
    assert refused
    for name in refused:
        assert name.removeprefix("deepface:") in notice


# Wheel and sdist


@pytest.fixture(scope="module")
def distribution(shared_dir: Path) -> Distribution:
    return distribution_once(shared_dir / "distribution")


def wheel_metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.mark.slow
@pytest.mark.lasting
def test_the_wheel_holds_every_module_of_every_room_and_nothing_else(
    distribution: Distribution,
) -> None:
    modules = (path for room in ROOMS for path in (distribution.sources / room).rglob("*.py"))
    expected = {str(path.relative_to(distribution.sources)) for path in modules}
    expected |= {f"{room}/py.typed" for room in ROOMS}
    expected |= {f"facetrove/service/page/{name}" for name in page_files()}
    names = zipfile.ZipFile(distribution.wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert distribution.wheel.name.endswith("-py3-none-any.whl")


@pytest.mark.slow
@pytest.mark.lasting
def test_the_wheel_says_whose_it_is_and_under_which_licence(distribution: Distribution) -> None:
    metadata = wheel_metadata(distribution.wheel)
    assert metadata["Name"] == "facetrove"
    assert metadata["Version"] == ft.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert metadata["Author"] == "The facetrove authors"
    names = zipfile.ZipFile(distribution.wheel).namelist()
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names}


@pytest.mark.slow
@pytest.mark.lasting
def test_the_sdist_holds_what_the_sources_hold(distribution: Distribution) -> None:
    with tarfile.open(distribution.sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {"LICENSE", "NOTICE", "MANIFEST.in", "Makefile", "constraints.txt", ".ci/run"} <= files
    for path in distribution.sources.rglob("*"):
        name = str(path.relative_to(distribution.sources))
        if path.is_file() and "egg-info" not in name:
            assert name in files
    assert not [name for name in files if name.endswith(".pyc")]


# Installed


def best_matches(environment: Environment, index: Path, probe_photo: Path) -> list[str]:
    """Names of the photos that the installed command finds, best first."""
    (probe,) = json.loads(environment.facetrove("search", index, probe_photo, "--json"))["probes"]
    return [Path(match["uri"]).name for match in probe["matches"]]


@pytest.mark.slow
@pytest.mark.lasting
def test_the_wheel_works_without_the_sources(
    tmp_path: Path, distribution: Distribution, demo_photos: Path, probe_photo: Path
) -> None:
    environment = borrowing_environment(tmp_path)
    environment.pip_install("--no-deps", "--no-index", distribution.wheel)
    for room in ROOMS:
        place = environment.run_python(f"import {room}; print({room}.__file__)")
        assert Path(place).is_relative_to(environment.folder)
    dataset, index = tmp_path / "faces.dataset", tmp_path / "faces.index"
    embedded = environment.facetrove("embed", demo_photos, dataset, *ONE_WORKER, "--json")
    assert json.loads(embedded)["total"]["num_faces"] == 7
    assert json.loads(environment.facetrove("index", dataset, index, "--json"))["num_faces"] == 7
    names = best_matches(environment, index, probe_photo)
    assert [name.startswith("obama") for name in names] == [True] * 4 + [False] * 3


@pytest.mark.slow
@pytest.mark.lasting
def test_facetrove_installs_and_searches_without_cuda_s_libraries(
    tmp_path: Path, distribution: Distribution, demo_dataset: Path, probe_photo: Path
) -> None:
    """As `pip install ./cpu-only .` does; pip finds in place all that it asks for but faiss-cpu."""
    environment = borrowing_environment(tmp_path, without=("faiss", "nvidia"))
    stand_in = distribution.sources / "cpu-only"
    environment.pip_install("--no-build-isolation", stand_in, distribution.wheel)
    script = "import faiss; print(faiss.__file__, hasattr(faiss, 'StandardGpuResources'))"
    place, has_gpu = environment.run_python(script).split()
    assert Path(place).is_relative_to(environment.folder)
    assert has_gpu == "False"
    for recipe in ("exact", "IVF2,SQ8", "HNSW4,Flat"):
        index = tmp_path / f"{recipe}.index"
        environment.facetrove("index", demo_dataset, index, "--recipe", recipe)
        names = best_matches(environment, index, probe_photo)
        assert [name.startswith("obama") for name in names] == [True] * 4 + [False] * 3
