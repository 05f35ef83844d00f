"""Results that turn into tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Tabular:
    """A result that turns into a table. Whatever inherits this says how in `to_arrow`."""

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas data frame; columns as of `to_arrow`."""
        return self.to_arrow().to_pandas()

    def to_list(self) -> list[dict[str, Any]]:
        """The rows as dictionaries; columns as of `to_arrow`."""
        rows: list[dict[str, Any]] = self.to_arrow().to_pylist()
        return rows
