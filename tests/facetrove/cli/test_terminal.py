"""Tables and progress bars show names as they are."""

from __future__ import annotations

from functools import partial
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from faces.core.progress import Progress
from facetrove.cli import terminal

NAMES = ("[bold]", "[/]", ":dog:")


def test_a_table_shows_names_that_look_like_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(box=None)
    for name in NAMES:
        table.add_column(name)
    table.add_row(*NAMES)
    terminal.print_table(table)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [[*NAMES]] * 2


@pytest.mark.parametrize("bar", [terminal.index_progress, terminal.embed_progress])
def test_a_step_shows_a_path_that_looks_like_markup(
    monkeypatch: pytest.MonkeyPatch, bar: type
) -> None:
    shown = StringIO()
    console = partial(Console, file=shown, force_terminal=True, width=200)
    monkeypatch.setattr(terminal, "Console", lambda **_: console())
    with bar() as on_progress:
        on_progress(Progress("comparing with /a[/b]/[bold]"))
    assert "comparing with /a[/b]/[bold]" in shown.getvalue()
