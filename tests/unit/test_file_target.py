"""Restored rows as files: whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from schemas.errors import RefusedError
from sinks.targets import FileTarget

if TYPE_CHECKING:
    from pathlib import Path

ROWS: dict[str, list[dict[str, Any]]] = {
    "public.guests": [{"id": 1, "name": "Zoë"}, {"id": 2, "name": None}],
    "public.notes": [],
}


async def test_each_table_is_a_file_that_the_manifest_vouches_for(tmp_path: Path) -> None:
    """Rows, names and checksums."""
    report = await FileTarget(tmp_path / "out").write(ROWS, restore_id="r1")

    manifest = orjson.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert report.rows == {"public.guests": 2, "public.notes": 0}
    for entry in manifest["tables"]:
        contents = (tmp_path / "out" / entry["file"]).read_bytes()
        assert hashlib.sha256(contents).hexdigest() == entry["sha256"]
        assert [orjson.loads(line) for line in contents.splitlines()] == ROWS[entry["table"]]


async def test_the_schema_of_that_time_lies_beside_the_rows(tmp_path: Path) -> None:
    """Rows alone do not say what their columns were."""
    await FileTarget(tmp_path / "out", ddl="CREATE TABLE guests ();").write(ROWS, restore_id="r1")

    assert (tmp_path / "out" / "schema.sql").read_text() == "CREATE TABLE guests ();"
    assert orjson.loads((tmp_path / "out" / "manifest.json").read_bytes())["schema"]["file"] == "schema.sql"


async def test_tables_of_odd_names_never_share_a_file(tmp_path: Path) -> None:
    """A slash is no folder, and no underscore either."""
    tables = {"public.a/b": [{"id": 1}], "public.a_b": [{"id": 2}], "public.../x%": [{"id": 3}]}
    await FileTarget(tmp_path / "out").write(tables, restore_id="r1")

    entries = orjson.loads((tmp_path / "out" / "manifest.json").read_bytes())["tables"]
    found = {each["table"]: orjson.loads((tmp_path / "out" / each["file"]).read_bytes()) for each in entries}
    assert found == {name: rows[0] for name, rows in tables.items()}


async def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    """Somebody may still need it."""
    with pytest.raises(RefusedError):
        await FileTarget(tmp_path).write(ROWS, restore_id="r1")


async def test_overwriting_replaces_the_whole_folder(tmp_path: Path) -> None:
    """No file of the old one stays, and nothing unfinished beside it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    await FileTarget(tmp_path / "out", overwrite=True).write(ROWS, restore_id="r1")

    left = await asyncio.to_thread(lambda: sorted(path.name for path in tmp_path.rglob("*")))
    assert left == ["manifest.json", "out", "public.guests.ndjson", "public.notes.ndjson"]
