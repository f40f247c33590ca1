"""Where restored rows go: another Postgres database, or files. Two adapters of one port.

`RowTarget.write` promises: all rows or none; nothing that exists is overwritten unless asked; what it
writes is exactly what was captured (`pgtext`), or it refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import shutil
import urllib.parse
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
import psycopg
from psycopg import errors, sql

from schemas.errors import ConfigError, RefusedError, TransientError
from schemas.hidden_columns import hidden_in
from sinks.row_copy import copy_rows
from sinks.target_sequences import raise_to_told, set_past_rows, set_past_used
from sinks.target_tables import (
    CANONICAL_SETTINGS,
    TargetForeignKey,
    TargetTable,
    is_empty,
    parents_first,
    read_foreign_keys,
    read_target_tables,
    target_connection,
)
from sinks.wedding_rows import identifier, wedding_condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from schemas.mapping import TableMapping, TableRule

    Rows = Mapping[str, Sequence[Mapping[str, Any]]]

RESTORE_PREFIX: Final = "wedsync.restore"
MANIFEST: Final = "manifest.json"
EVENTS: Final = "events.ndjson"
SCHEMA: Final = "schema.sql"
MANIFEST_VERSION: Final = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WriteReport:
    """What a target did: rows written and removed per table, sequences set, and references that lead nowhere.

    `dangling` counts, per foreign key, rows whose parent the target does not hold (a vendor nobody restored).
    """

    restore_id: str
    rows: Mapping[str, int]
    removed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sequences: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dangling: Mapping[str, int] = dataclasses.field(default_factory=dict)
    created_schema: bool = False


class RowTarget(Protocol):
    """Takes the restored rows of one request.

    Concurrency: one `write` at a time. Cancelled or failed: nothing is written. Not idempotent by itself: the
    second time the same rows exist already, and are refused or overwritten as asked.
    """

    async def write(self, tables: Rows, *, restore_id: str) -> WriteReport:
        """Write the row images (column -> captured JSON value) of each table, all or none.

        Raises:
            RefusedError: something is there already.
            FormatError: a value cannot be written exactly.
            ConfigError: the target lacks a table, a column or a permission.
            TransientError: the target is not reachable or busy.
        """
        ...


class PostgresTarget:
    """Writes rows into a Postgres database in one transaction, triggers off, references checked afterwards."""

    def __init__(
        self,
        dsn: str,
        mapping: TableMapping,
        *,
        ddl: str | None = None,
        overwrite: bool = False,
        replace_wedding: str | None = None,
        sequences: Mapping[str, int] | None = None,
        used_numbers: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        """`ddl` creates the schema where the database is empty; `overwrite` replaces rows of the same key.

        With `replace_wedding` the rows of that wedding that are not among the restored ones are removed, so that it
        stands as it was; it needs `overwrite`. Sequences are set to at least these values, by `schema.name`, and to
        at least what columns that draw from them have borne: `used_numbers`, by table and column.
        """
        if replace_wedding is not None and not overwrite:
            raise ConfigError("replacing a wedding overwrites rows", hint="ask for overwrite too")
        self._dsn = dsn
        self._mapping = mapping
        self._ddl = ddl
        self._overwrite = overwrite
        self._replace_wedding = replace_wedding
        self._sequences = sequences or {}
        self._used_numbers = used_numbers or {}

    async def write(self, tables: Rows, *, restore_id: str) -> WriteReport:
        """Write the rows; see `RowTarget`."""
        with _translated():
            created = await self._create_schema()
            async with target_connection(self._dsn) as connection:
                await connection.execute("SELECT pg_logical_emit_message(true, %s, %s)", (RESTORE_PREFIX, restore_id))
                await connection.execute(CANONICAL_SETTINGS)
                await connection.execute("SET LOCAL session_replication_role = replica")
                report = await self._write(connection, tables, restore_id)
        return dataclasses.replace(report, created_schema=created)

    async def _create_schema(self) -> bool:
        if self._ddl is None:
            return False
        async with target_connection(self._dsn) as connection:
            if not await is_empty(connection):
                return False
            await connection.execute(self._ddl.encode())
            return True

    async def _write(self, connection: psycopg.AsyncConnection[Any], tables: Rows, restore_id: str) -> WriteReport:
        replaced = [] if self._replace_wedding is None else _wedding_tables(self._mapping)
        shapes = await read_target_tables(connection, sorted({*tables, *replaced}))
        foreign_keys = await read_foreign_keys(connection)
        order = parents_first(shapes, foreign_keys)
        removed = {}
        if self._overwrite:
            stages = {name: sql.Identifier(f"wedsync_stage_{index}") for index, name in enumerate(order)}
            for name in order:
                await _stage(connection, shapes[name], tables.get(name, ()), stages[name])
            removed = {
                name: await self._remove_others(connection, name, stages[name])
                for name in reversed(order)
                if name in replaced
            }
            rows = {name: await self._merge(connection, shapes[name], stages[name]) for name in order if name in tables}
        else:
            rows = {name: await copy_rows(connection, shapes[name], tables[name]) for name in order}
        return WriteReport(
            restore_id=restore_id,
            rows=rows,
            removed={name: count for name, count in removed.items() if count},
            sequences={
                **await set_past_rows(connection, [shapes[name] for name in rows]),
                **await raise_to_told(connection, self._sequences),
                **await set_past_used(connection, self._used_numbers),
            },
            dangling=await _dangling(connection, foreign_keys, shapes),
        )

    async def _remove_others(self, connection: psycopg.AsyncConnection[Any], name: str, stage: sql.Identifier) -> int:
        """Remove the wedding's rows that the restore does not bring: children go before their parents."""
        assert self._replace_wedding is not None, "only a replaced wedding loses rows"
        rule = self._rule(name)
        query = sql.SQL("DELETE FROM {} AS t WHERE {} AND NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(
            identifier(name),
            wedding_condition(self._mapping, rule, alias="t", wedding=self._replace_wedding),
            stage,
            _equal("s", rule.key, "t", rule.key),
        )
        return (await connection.execute(query)).rowcount

    async def _merge(self, connection: psycopg.AsyncConnection[Any], table: TargetTable, stage: sql.Identifier) -> int:
        """Insert what is staged, over what has the same key."""
        key = self._rule(table.name).key
        columns = [column.name for column in table.columns.values() if not column.is_generated]
        # What was hidden at capture is better where it still stands than what stands for it.
        kept = {*key, *hidden_in(table.name, self._mapping.hidden)}
        others = [name for name in columns if name not in kept]
        update = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("excluded", name)) for name in others
        )
        query = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ON CONFLICT ({}) DO {}").format(
            identifier(table.name),
            _listed(columns),
            _listed(columns),
            stage,
            _listed(key),
            sql.SQL("UPDATE SET {}").format(update) if others else sql.SQL("NOTHING"),
        )
        await connection.execute(query)
        counted = await (await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(stage))).fetchone()
        assert counted is not None, "count(*) returns a row"
        return int(counted[0])

    def _rule(self, table: str) -> TableRule:
        rule = self._mapping.rule(table)
        if rule is None:
            raise ConfigError(f"{table} has no rule, so its key is not known", hint="declare it: [[mapping.tables]]")
        return rule


class FileTarget:
    """Writes one NDJSON file per table and a manifest into a new folder; the folder appears whole or not at all."""

    def __init__(self, folder: Path, *, overwrite: bool = False, events: bytes = b"", ddl: str | None = None) -> None:
        """`events`, and the schema of that time as SQL, become files of their own beside the tables."""
        self._folder = folder
        self._overwrite = overwrite
        self._besides = {EVENTS: events, SCHEMA: (ddl or "").encode()}

    async def write(self, tables: Rows, *, restore_id: str) -> WriteReport:
        """Write the rows; see `RowTarget`."""
        return await asyncio.to_thread(self._write, tables, restore_id)

    def _write(self, tables: Rows, restore_id: str) -> WriteReport:
        if self._folder.exists() and not self._overwrite:
            raise RefusedError(f"{self._folder} exists", hint="name a new folder, or ask for overwrite")
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder.with_name(f".{self._folder.name}.{restore_id}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        entries = [_write_table(unfinished, name, rows) for name, rows in sorted(tables.items())]
        manifest: dict[str, Any] = {"version": MANIFEST_VERSION, "restore_id": restore_id, "tables": entries}
        for name, contents in self._besides.items():
            if contents:
                _write_synced(unfinished / name, contents)
                entry = {"file": name, "sha256": hashlib.sha256(contents).hexdigest()}
                manifest[name.partition(".")[0]] = entry
        _write_synced(unfinished / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        _sync_folder(unfinished)
        replaced = self._folder.with_name(f".{self._folder.name}.{restore_id}.old")
        if self._folder.exists():
            self._folder.rename(replaced)
        unfinished.rename(self._folder)
        _sync_folder(self._folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
        return WriteReport(restore_id=restore_id, rows={name: len(rows) for name, rows in tables.items()})


def _write_table(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    contents = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS) for row in rows)
    # Percent-encoded, so that two tables never share a file, whatever they are called.
    file_name = f"{urllib.parse.quote(name, safe='._-')}.ndjson"
    _write_synced(folder / file_name, contents)
    return {"table": name, "file": file_name, "rows": len(rows), "sha256": hashlib.sha256(contents).hexdigest()}


def _write_synced(path: Path, contents: bytes) -> None:
    with path.open("wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _stage(
    connection: psycopg.AsyncConnection[Any],
    table: TargetTable,
    rows: Sequence[Mapping[str, Any]],
    stage: sql.Identifier,
) -> None:
    query = sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING IDENTITY) ON COMMIT DROP")
    await connection.execute(query.format(stage, identifier(table.name)))
    await copy_rows(connection, table, rows, into=stage)


async def _dangling(
    connection: psycopg.AsyncConnection[Any], foreign_keys: Sequence[TargetForeignKey], written: Mapping[str, Any]
) -> dict[str, int]:
    """Count, for each foreign key at a written table, the rows without a parent: nobody else checks them."""
    found = {}
    for link in foreign_keys:
        if link.table in written or link.references in written:
            query = sql.SQL(
                "SELECT count(*) FROM {} AS c WHERE {} AND NOT EXISTS (SELECT FROM {} AS p WHERE {})"
            ).format(
                identifier(link.table),
                sql.SQL(" AND ").join(
                    sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", name)) for name in link.columns
                ),
                identifier(link.references),
                _equal("p", link.referenced_columns, "c", link.columns),
            )
            row = await (await connection.execute(query)).fetchone()
            if row is not None and row[0]:
                found[f"{link.table}.{link.name}"] = int(row[0])
    return found


def _wedding_tables(mapping: TableMapping) -> list[str]:
    return [rule.name for rule in mapping.tables.values() if not rule.is_platform]


def _equal(left: str, left_columns: Sequence[str], right: str, right_columns: Sequence[str]) -> sql.Composed:
    pairs = zip(left_columns, right_columns, strict=True)
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, here), sql.Identifier(right, there)) for here, there in pairs
    )


def _listed(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(column) for column in columns)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn Postgres' errors into ours; its texts may hold values of rows, so only names are passed on."""
    try:
        yield
    except errors.UniqueViolation as error:
        raise RefusedError(
            f"a row with the same {error.diag.constraint_name} already exists in {error.diag.table_name}",
            hint="restore into an empty database, or ask for overwrite",
        ) from error
    except errors.InsufficientPrivilege as error:
        raise ConfigError(
            f"the target refuses: {error.diag.message_primary}",
            hint="restore as a superuser: triggers must be off while rows go in",
        ) from error
    except errors.LockNotAvailable as error:
        raise TransientError("the target's tables are locked by somebody", hint="try again") from error
    except psycopg.OperationalError as error:
        raise TransientError(f"the target is not reachable: {error}", hint="is the database up?") from error
    except (errors.IntegrityError, errors.DataError, errors.ProgrammingError) as error:
        raise ConfigError(
            f"the target cannot take a row of {error.diag.table_name or 'a table'}: {error.diag.sqlstate}"
            f" {error.diag.constraint_name or error.diag.column_name or ''}".rstrip(),
            hint="create the target with the schema of that time",
        ) from error
