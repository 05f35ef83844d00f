"""What tests of training share."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

needs_keras = pytest.mark.skipif(
    find_spec("keras") is None, reason="Keras is not installed: pip install -e '.[dev]'"
)
"""Marks a test that trains, or runs Keras."""
