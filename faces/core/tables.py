"""The base class of results that turn into tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Tabular:
    """A result that turns into tables; a subclass implements `to_arrow`."""

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame, with the columns of `to_arrow`."""
        return self.to_arrow().to_pandas()

    def to_list(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries, with the columns of `to_arrow` as keys."""
        rows: list[dict[str, Any]] = self.to_arrow().to_pylist()
        return rows
