"""What a transaction of the workload is made of."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.oracle.catalog import Catalog


class Step(enum.Enum):
    """What is no statement."""

    SAVEPOINT = "savepoint"
    ROLLBACK_TO = "rollback to"
    RELEASE = "release"
    PAUSE = "pause"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement with its values."""

    text: str
    values: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Rows that go in by COPY: many of them share one place in the log."""

    text: str
    rows: tuple[tuple[Any, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Acts that are drawn only when their turn comes, for the catalog as it is then."""

    draw: Callable[[Catalog], Sequence[Act]]


Act = Step | Statement | Copy | Drawn


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Acts between BEGIN and COMMIT, or ROLLBACK; `mark` names one whose neighbours are looked at closely."""

    acts: tuple[Act, ...]
    is_committed: bool = True
    mark: str = ""
