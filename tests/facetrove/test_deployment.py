"""The Dockerfile and the systemd unit name files and options that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import pytest

from facetrove.cli.main import cli
from facetrove.cli.serve import serve
from tests.support.command import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
UNIT = (ROOT / "deploy" / "facetrove.service").read_text()


def test_the_image_is_made_of_files_that_are_there() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    sources = [name for line in lines for name in line.split()[:-1]]
    assert sources and all((ROOT / name).exists() for name in sources)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not set(sources) & set(ignored)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"tests", "benchmarks", "examples"} <= set(sources)


def test_the_image_does_not_run_as_root_and_embeds_no_secret() -> None:
    assert re.search(r"^USER facetrove$", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"(?i)^(ENV|ARG).*(key|secret|token|password)", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("text", [DOCKERFILE.replace("#", ""), UNIT], ids=["image", "unit"])
def test_the_commands_have_options_that_the_program_has(text: str) -> None:
    joined = re.sub(r"\\\n", " ", text)
    found = re.search(r"^.*serve /.*$", joined, re.MULTILINE)
    assert found
    words = shlex.split(found[0].split("serve ", 1)[1])
    options = {option for parameter in serve.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    assert "serve" in cli.commands


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_unit() -> None:
    finished = subprocess.run(
        ["systemd-analyze", "verify", str(ROOT / "deploy" / "facetrove.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    unknown = [line for line in finished.stderr.splitlines() if "Unknown" in line]
    assert unknown == []
