"""What tests of notebooks share."""

from __future__ import annotations

from typing import Any


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: Any) -> str:
    """What a cell showed: its value, or what it printed on stdout."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "execute_result":
            texts.append(output["data"]["text/plain"])
        elif output.output_type == "stream" and output.name == "stdout":
            texts.append(output.text)
    return "".join(texts)


def cell_with(notebook: Any, code: str) -> Any:
    (cell,) = [cell for cell in code_cells(notebook) if code in cell.source]
    return cell
