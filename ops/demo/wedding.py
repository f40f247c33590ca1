"""The demo's witness: one wedding as Postgres and the folder held it at T, the harm done to it, the comparison."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

import blake3
import psycopg

from sinks.row_digest import canonical_digest

if TYPE_CHECKING:
    import pathlib

    from schemas.mapping import TableMapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What was true at `at`: a digest of each table's rows, and of each file below the wedding's folder."""

    wedding: str
    at: dt.datetime
    tables: dict[str, tuple[int, str]]
    files: dict[str, str]

    @property
    def rows(self) -> int:
        """Return how many rows the wedding has."""
        return sum(count for count, _ in self.tables.values())


async def record(dsn: str, mapping: TableMapping, wedding: str, folder: pathlib.Path) -> Witness:
    """Record a wedding that nobody touches, as of now by Postgres' own clock."""
    tables = await canonical_digest(dsn, mapping, wedding)
    files = await asyncio.to_thread(digest_files, folder, wedding)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        found = await (await connection.execute("SELECT clock_timestamp()")).fetchone()
    assert found is not None
    return Witness(wedding=wedding, at=found[0].astimezone(dt.UTC), tables=tables, files=files)


def digest_files(folder: pathlib.Path, wedding: str) -> dict[str, str]:
    """Return BLAKE3 of every file of a wedding, by its key; other people's temporary files do not count."""
    root = folder / "weddings" / wedding
    return {
        path.relative_to(folder).as_posix(): blake3.blake3(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What was done to the wedding after T, and by which transaction."""

    guests: int
    photos: int
    transaction: int


async def harm(dsn: str, witness: Witness, folder: pathlib.Path) -> Harm:
    """Delete the wedding's guests and overwrite its photos."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        deleted = await connection.execute("DELETE FROM guests WHERE wedding_id = %s", (witness.wedding,))
        found = await (await connection.execute("SELECT txid_current()")).fetchone()
    assert found is not None
    for number, key in enumerate(witness.files):
        await asyncio.to_thread((folder / key).write_bytes, f"overwritten {number}".encode())
    return Harm(guests=deleted.rowcount, photos=len(witness.files), transaction=int(found[0]))


async def differences(witness: Witness, dsn: str, mapping: TableMapping, folder: pathlib.Path) -> list[str]:
    """Return in which tables and files a restored wedding differs from the recorded one; none is identical."""
    tables = await canonical_digest(dsn, mapping, witness.wedding)
    files = await asyncio.to_thread(digest_files, folder, witness.wedding)
    wrong = [
        name for name in sorted(witness.tables.keys() | tables.keys()) if witness.tables.get(name) != tables.get(name)
    ]
    return wrong + [
        key for key in sorted(witness.files.keys() | files.keys()) if witness.files.get(key) != files.get(key)
    ]
