"""`facetrove drop`: what it asks, drops and keeps, and the lists that name the photos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.command import ONE_WORKER, require_message, run_facetrove


@pytest.mark.slow
def test_photos_whose_files_are_gone_are_named_and_dropped_for_good(
    tmp_path: Path, demo_photos: Path
) -> None:
    photos, emptied = tmp_path / "photos", tmp_path / "photos" / "emptied"
    emptied.mkdir(parents=True)
    shutil.copy(demo_photos / "biden.jpg", photos)
    shutil.copy(demo_photos / "coffee.png", emptied)
    named = tmp_path / "list.txt"
    named.write_text("photos/biden.jpg\nphotos/emptied/coffee.png\n")
    dataset = tmp_path / "d"
    assert run_facetrove("embed", named, dataset, *ONE_WORKER).returncode == 0
    listing = run_facetrove("info", dataset, "--list", "no-face", "--csv")
    assert listing.stdout.splitlines() == ["uri", f"{emptied}/coffee.png"]
    (emptied / "coffee.png").unlink()
    listing = run_facetrove("info", dataset, "--list", "vanished", "--json")
    assert json.loads(listing.stdout)["vanished"] == [{"uri": f"{emptied}/coffee.png"}]
    require_message("drop", dataset, exit_code=2, says=["asks for confirmation", "give --yes"])
    dry = run_facetrove("drop", dataset, "--dry-run")
    assert "would drop 1 photo" in dry.stdout and "coffee.png" in dry.stderr
    dropped = json.loads(run_facetrove("drop", dataset, "--yes", "--json").stdout)
    assert (dropped["num_dropped"], dropped["unreachable"]) == (1, [])
    assert "is gone for certain" in run_facetrove("drop", dataset, "--yes").stdout
    again = run_facetrove("embed", named, dataset, *ONE_WORKER)
    assert "1 photo named by a list, but gone and dropped before" in again.stdout
    assert "nothing is new" in again.stdout
    assert json.loads(run_facetrove("info", dataset, "--json").stdout)["num_photos"] == 1
