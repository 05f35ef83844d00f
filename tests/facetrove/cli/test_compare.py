"""`facetrove compare`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.command import require_message, run_facetrove


def test_the_decision_is_yes_for_one_person_and_no_for_two(demo_photos: Path) -> None:
    same = run_facetrove("compare", demo_photos / "obama2.jpg", demo_photos / "obama3.jpg")
    assert (same.returncode, same.stderr) == (0, "")
    first, second = same.stdout.splitlines()
    assert re.fullmatch(
        r"similarity 0\.\d{3} between the largest face of .*obama2\.jpg \(1 of 1, \d+x\d+ at "
        r"\d+,\d+\) and the largest face of .*obama3\.jpg \(1 of 1, \d+x\d+ at \d+,\d+\)",
        first,
    )
    assert second.startswith("same person: yes (threshold 0.")
    assert "at a false accept rate of 0.001; " in second
    others = (demo_photos / "obama2.jpg", demo_photos / "biden.jpg")
    different = run_facetrove("compare", *others, "--json")
    assert different.returncode == 0  # whatever the decision
    document = json.loads(different.stdout)
    assert document["photos"] == [str(photo) for photo in others]
    assert document["decision"] is False
    assert document["similarity"] < document["threshold"]


@pytest.mark.lasting
@pytest.mark.slow
def test_a_face_number_or_photo_without_such_a_face_is_refused(demo_photos: Path) -> None:
    biden, coffee = demo_photos / "biden.jpg", demo_photos / "coffee.png"
    require_message(
        *("compare", biden, biden, "--face-b", "2"), exit_code=2, says=["has 1 face", "number 2"]
    )
    require_message("compare", biden, coffee, exit_code=1, says=["no face was found in", "coffee"])
