"""The family of built-in models, YuNet and SFace, which need no optional package."""

from __future__ import annotations

from functools import partial

from faces.core.settings import FaceSelection
from faces.models.choice import BUILT_IN_EMBEDDERS
from faces.models.embedder import EmbedderSpec
from faces.models.family import ModelFamily
from faces.models.placement import Placement
from faces.models.sface import SFACE, SFACE_INT8, SFACE_INT8_MIRRORED
from faces.models.yunet import RefinedYuNetDetector, YuNetDetector


def _load(
    detector: type[YuNetDetector],
    selection: FaceSelection,
    *,
    threads: int,
    placement: Placement,
) -> YuNetDetector:
    return detector(
        threads=threads,
        placement=placement,
        min_score=selection.min_score,
        min_face=selection.min_face,
    )


_SPECS = {spec.name: spec for spec in (SFACE_INT8, SFACE, SFACE_INT8_MIRRORED)}


def _find_embedder(name: str, _digest: str | None) -> EmbedderSpec | None:
    return _SPECS.get(name)


FAMILY = ModelFamily(
    BUILT_IN_EMBEDDERS,
    _find_embedder,
    {kind.name: partial(_load, kind) for kind in (YuNetDetector, RefinedYuNetDetector)},
)
