"""The command line as a whole: its help, what it prints to stdout and stderr, its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import PIL.Image
import pytest

from facetrove.cli.evaluate import EVALUATIONS
from facetrove.cli.keys import COMMANDS as KEY_COMMANDS
from facetrove.cli.main import COMMANDS, cli
from facetrove.cli.people import PEOPLE
from facetrove.cli.train import NETWORKS
from tests.support.command import (
    ONE_WORKER,
    facetrove_command,
    require_message,
    rows_of_matches,
    run_facetrove,
    without_times,
)

COMMAND_NAMES = [
    *[(name,) for name in COMMANDS if name not in {"evaluate", "keys", "people", "train"}],
    *[("evaluate", name) for name in EVALUATIONS],
    *[("keys", name) for name in KEY_COMMANDS],
    *[("people", name) for name in PEOPLE],
    *[("train", name) for name in NETWORKS],
]


@pytest.mark.parametrize("names", COMMAND_NAMES, ids=" ".join)
def test_every_command_has_help_with_an_example_and_json(names: tuple[str, ...]) -> None:
    finished = run_facetrove(*names, "--help")
    assert finished.returncode == 0
    assert "Example" in finished.stdout
    assert f"  facetrove {' '.join(names)} " in finished.stdout
    assert "--json" in finished.stdout
    command: click.Command = cli
    for name in names:
        assert isinstance(command, click.Group)
        loaded = command.get_command(click.Context(command), name)
        assert loaded is not None and loaded.name == name
        assert command.commands[name].short_help
        command = loaded
    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help


def test_help_lists_every_command_with_an_uncut_sentence() -> None:
    finished = run_facetrove("--help")
    for name in cli.commands:
        assert f"\n  {name} " in finished.stdout
    assert (
        "..." not in finished.stdout.split("Commands:")[1]
    )  # click cuts a sentence that is too long
    assert run_facetrove("--version").stdout.startswith("facetrove 0.")


def run_python(script: str, **variables: str) -> str:
    """Return what a Python script prints, run with further environment variables."""
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("words", [["--help"], ["evaluate", "--help"]], ids=" ".join)
def test_help_of_a_group_loads_nothing_heavy(words: list[str]) -> None:
    script = f"""
import sys
from facetrove.cli.main import cli
from facetrove.cli.people import PEOPLE
from facetrove.cli.train import NETWORKS
cli.main({words}, prog_name="facetrove", standalone_mode=False)
heavy = ("apache_beam", "faiss", "openvino", "onnxruntime", "cv2", "pyarrow", "numpy", "rich")
print([name for name in heavy if name in sys.modules])
"""
    assert run_python(script).splitlines()[-1] == "[]"


def test_names_of_commands_are_completed_without_loading_them() -> None:
    script = """
import sys
from facetrove.cli.main import main
from facetrove.cli.people import PEOPLE
from facetrove.cli.train import NETWORKS
try:
    main()
finally:
    print("apache_beam" in sys.modules)
"""
    words = {"_FACETROVE_COMPLETE": "bash_complete", "COMP_WORDS": "facetrove em"}
    assert run_python(script, **words, COMP_CWORD="1") == "plain,embed\nFalse\n"


def test_a_mistyped_command_is_answered_with_the_right_one() -> None:
    finished = run_facetrove("serch")
    assert finished.returncode == 2
    assert "No such command 'serch'" in finished.stderr and "'search'" in finished.stderr


def test_python_m_facetrove_is_the_same_as_the_command() -> None:
    command = [sys.executable, "-m", "facetrove"]
    for words in (["--version"], ["search", "--help"]):
        finished = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
        assert finished.stdout == run_facetrove(*words).stdout


@pytest.mark.slow
def test_photos_are_embedded_indexed_and_searched(
    tmp_path: Path, demo_photos: Path, probe_photo: Path
) -> None:
    dataset, index, sheet = tmp_path / "d", tmp_path / "i", tmp_path / "sheet.jpg"
    embedded = run_facetrove("embed", demo_photos, dataset)
    assert (embedded.returncode, embedded.stderr) == (0, "")  # quiet when piped
    assert without_times(embedded.stdout) == [
        "embedded 7 faces of 9 photos",
        "  2 photos without a face",
        f"{dataset} holds 7 faces of 9 photos",
    ]
    again = json.loads(run_facetrove("embed", demo_photos, dataset, "--json").stdout)
    assert (again["found"]["num_photos"], again["found"]["num_unchanged"]) == (9, 9)
    assert again["total"]["by_status"] == {"embedded": 7, "no_face": 2}
    assert "nothing is new" in run_facetrove("embed", demo_photos, dataset).stdout
    indexed = run_facetrove("index", dataset, index)
    assert (indexed.returncode, indexed.stderr) == (0, "")
    assert f"{index} holds 7 faces" in indexed.stdout
    manifest = json.loads(run_facetrove("index", dataset, index, "--json").stdout)
    assert (manifest["num_faces"], manifest["version"]) == (7, 1)
    found = run_facetrove("search", index, probe_photo, "-k", "4", "--sheet", sheet)
    assert (found.returncode, found.stderr) == (0, "")
    rows = [line.split() for line in rows_of_matches(found.stdout)[:4]]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert all("obama" in row[-1] for row in rows)
    assert f"contact sheet: {sheet}" in found.stdout
    with PIL.Image.open(sheet) as picture:
        assert picture.width > 500
    answer = json.loads(run_facetrove("search", index, probe_photo, "-k", "2", "--json").stdout)
    (probe,) = answer["probes"]
    assert [match["rank"] for match in probe["matches"]] == [1, 2]
    assert probe["matches"][0].keys() >= {"similarity", "uri", "box", "face_id", "person"}
    assert probe["box"].keys() == {"x", "y", "width", "height"}


@pytest.mark.slow
def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    nowhere, empty = tmp_path / "nowhere", tmp_path / "empty"
    empty.mkdir()
    require_message(
        *("embed", nowhere, tmp_path / "d"), exit_code=2, says=[str(nowhere), "does not exist"]
    )
    require_message(*("embed", empty, tmp_path / "d"), exit_code=2, says=["no photos under"])
    assert not (tmp_path / "d").exists()
    require_message(
        *("index", nowhere, tmp_path / "i"), exit_code=2, says=[str(nowhere), "facetrove embed"]
    )
    require_message(
        *("search", nowhere, "x.jpg"), exit_code=2, says=[str(nowhere), "facetrove index"]
    )


def test_a_dataset_given_for_an_index_is_refused_and_the_other_way_round(
    demo_dataset: Path, demo_index: Path, tmp_path: Path, demo_photos: Path
) -> None:
    require_message(
        *("search", demo_dataset, "x.jpg"), exit_code=2, says=["is a dataset; build its index"]
    )
    require_message(
        *("index", demo_index, tmp_path / "i"), exit_code=2, says=["is an index; name the dataset"]
    )
    require_message(
        *("search", demo_index, tmp_path / "nope.jpg"), exit_code=2, says=["does not exist"]
    )


@pytest.mark.slow
def test_k_defaults_to_all_of_a_small_index_and_a_closed_pipe_is_no_traceback(
    demo_index: Path, probe_photo: Path
) -> None:
    answer = json.loads(run_facetrove("search", demo_index, probe_photo, "--json").stdout)
    assert len(answer["probes"][0]["matches"]) == 7
    reader, writer = os.pipe()
    os.close(reader)
    command = facetrove_command("search", demo_index, probe_photo, "--json")
    finished = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (finished.returncode, finished.stderr) == (1, b"")


def test_unknown_options_and_missing_arguments_end_with_2() -> None:
    for arguments in (["embed"], ["embed", "--frobnicate", "a", "b"], ["nonsense"]):
        finished = run_facetrove(*arguments)
        assert finished.returncode == 2
        assert "Error: " in finished.stderr
        assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_control_characters_in_files_are_printed_escaped(tmp_path: Path, demo_photos: Path) -> None:
    (tmp_path / "list.csv").write_text("path,al\x1b[31mbum\n" + f"{demo_photos}/biden.jpg,x\n")
    run_facetrove("embed", tmp_path / "list.csv", tmp_path / "d")
    (run,) = (tmp_path / "d" / "runs").iterdir()
    run.write_text('{"started": "\\u001b[31m", "done": {}}')
    shown = run_facetrove("info", tmp_path / "d")
    assert shown.returncode == 0
    assert "al\\x1b[31mbum" in shown.stdout
    header = json.loads((tmp_path / "d" / "dataset.json").read_text())
    header["contract"]["embedder"] = "a\x1b[31mb"
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(header))
    refused = run_facetrove("info", tmp_path / "d")
    assert refused.returncode == 1
    finished = run_facetrove("embed", demo_photos, tmp_path / "d", *ONE_WORKER)
    assert finished.returncode == 1
    for text in (shown.stdout, refused.stderr, finished.stdout, finished.stderr):
        assert "\x1b" not in text
