from __future__ import annotations

from pathlib import Path

import pytest

from beam_jobs.embed_photos import embed_photos
from faces.core.errors import WrongUsageError


def test_an_unknown_flag_of_beam_is_wrong_usage(tmp_path: Path, demo_photos: Path) -> None:
    with pytest.raises(WrongUsageError, match="no option --flink_mastr"):
        embed_photos(demo_photos, tmp_path / "d", runner_args=["--flink_mastr=host"])
