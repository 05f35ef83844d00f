"""The pipelines that our jobs run, which work inside a notebook too."""

from __future__ import annotations

import shutil
from typing import Any

import apache_beam as beam


class JobPipeline(beam.Pipeline):  # type: ignore[misc]  # Beam's classes are untyped
    """A Beam pipeline that ignores whether it is made in a notebook.

    Inside IPython, `beam.Pipeline` puts the number of the notebook's cell before the label of each
    top-level step. For that it loads its DataFrame API, which Beam 2.77 cannot load beside pandas
    3 ("type object 'DataFrame' has no attribute 'first'"). It also leaves the pipeline's temporary
    folder to its notebook runner, which our jobs do not use. The labels of our jobs need no number,
    and the folder is removed here.
    """

    _num_applying = 0

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Add a step to the pipeline: see `beam.Pipeline.apply`."""
        self._num_applying += 1
        try:
            return super().apply(*args, **kwargs)
        finally:
            self._num_applying -= 1

    def _root_transform(self) -> Any:
        """The root of the pipeline's steps; None while a step is added.

        Beam labels a step by its cell if the step is about to be added directly below the root.
        """
        return None if self._num_applying else super()._root_transform()

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the pipeline, and remove its temporary folder: see `beam.Pipeline.run`."""
        try:
            return super().run(*args, **kwargs)
        finally:
            shutil.rmtree(self.local_tempdir, ignore_errors=True)
