"""The gallery: the index in force and its networks, shared by all requests."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

from faces.core.settings import Device, FaceSelection
from faces.models.pipeline import FacePipeline
from faces.models.registry import load_pipeline_for
from search.searcher import FaceSearcher


class Gallery:
    """An index of which every request sees one version whole.

    Args:
        index: path of the index.
        device: device to search on.
        max_faces: maximum number of faces of a photo; one more is found, so that more are told.
        dataset: path of the dataset whose people book says who is who; None: the index's own.

    Raises:
        WrongUsageError, CorruptFileError: see `FaceSearcher.open`.
    """

    def __init__(
        self,
        index: Path,
        *,
        device: Device = "auto",
        max_faces: int = 256,
        dataset: Path | None = None,
    ) -> None:
        self._searcher = FaceSearcher.open(index, device=device, dataset=dataset)
        self._max_faces = max_faces
        self._refreshing = threading.Lock()
        self._loading = threading.Lock()
        self._pipeline: FacePipeline | None = None

    @property
    def current(self) -> FaceSearcher:
        """The version that new requests search; it never changes, but is replaced."""
        return self._searcher

    def refresh(self) -> bool:
        """Open the newest version of the index; return whether it is another one.

        Raises: the errors of `FaceSearcher.open`; the version that is open then stays.
        """
        with self._refreshing:
            newest = self._searcher.newest()
            if newest is self._searcher:
                return False
            self._searcher = newest
        # A version and its cached filters refer to each other; until they are collected, the maps
        # of removed segments take up disk and memory.
        gc.collect()
        return True

    def pipeline(self) -> FacePipeline:
        """Return the networks of the index, which are loaded when they are first needed.

        Raises:
            ContractMismatchError: the networks here differ from those that made the index.
            ModelUnavailableError: a network cannot be had.
        """
        contract = self._searcher.contract
        with self._loading:
            if self._pipeline is None or self._pipeline.contract != contract:
                loaded = load_pipeline_for(contract, contract_owner=f"index {self._searcher.path}")
                selection = FaceSelection(max_faces=self._max_faces + 1)
                self._pipeline = FacePipeline(loaded.detector, loaded.embedder, selection)
            return self._pipeline
