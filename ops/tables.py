"""Tables for people: rich where there is a terminal, plain lines where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN_COLUMNS: Final = 160


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print one table on standard output."""
    from rich.console import Console  # noqa: PLC0415 - only when something is printed
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = _PLAIN_COLUMNS  # A file or a pipe has room: ids must not be folded there.
    console.print(table)
