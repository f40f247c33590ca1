"""Every version of every record of ours: the present ones, and those that packs of years ago hold. Pure.

The present schemas lie in `avro/`, one file a record; `avro/history/<Name>.<n>.avsc` are the earlier
ones, numbered from 1, and are never edited. A version is known by the ten bytes its records begin
with: a fingerprint that two layouts share would be a guess, so loading refuses it.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import re
from typing import TYPE_CHECKING, Any, Final

import fastavro.schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAGIC: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10
_HISTORY_NAME: Final = re.compile(r"^([A-Za-z]+)\.([1-9][0-9]*)\.avsc$")
_REFERENCES: Final = "references"
"""In a file of the history: which version of a record it names it was written with (`{"wedsync.Frontier": 1}`)."""

Schema = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of one record; `whole` is its schema with every record it names written out."""

    name: str
    number: int
    schema: Any
    header: bytes
    whole: Any

    @property
    def layout(self) -> str:
        """Return the canonical form of all its bytes depend on."""
        return canonical(self.whole)


def load() -> tuple[dict[str, Version], dict[bytes, Version]]:
    """Return the present version of each record by name, and every version by the ten bytes it begins with."""
    folder = importlib.resources.files("schemas") / "avro"
    present = [json.loads(each.read_text(encoding="utf-8")) for each in folder.iterdir() if each.name.endswith(".avsc")]
    history = {
        (match[1], int(match[2])): json.loads(each.read_text(encoding="utf-8"))
        for each in (folder / "history").iterdir()
        if (match := _HISTORY_NAME.match(each.name))
    }
    return arrange({each["name"]: each for each in present}, history)


def arrange(
    present: Mapping[str, Schema], history: Mapping[tuple[str, int], Schema]
) -> tuple[dict[str, Version], dict[bytes, Version]]:
    """Return what `load` does, from definitions: the present by name, the earlier by (name, number)."""
    books = {f"wedsync.{name}": schema for name, schema in present.items()}
    newest = {
        name: _version(name, 1 + max((n for own, n in history if own == name), default=0), schema, books)
        for name, schema in sorted(present.items())
    }
    earlier = [
        _version(name, number, schema, {**books, **_referred(schema, history)})
        for (name, number), schema in sorted(history.items())
    ]
    return newest, _by_header([*newest.values(), *earlier])


def _referred(schema: Schema, history: Mapping[tuple[str, int], Schema]) -> dict[str, Schema]:
    return {
        name: history[name.removeprefix("wedsync."), number] for name, number in schema.get(_REFERENCES, {}).items()
    }


def _version(name: str, number: int, schema: Schema, books: Mapping[str, Schema]) -> Version:
    assert schema["name"] == name, f"{name}.{number}.avsc defines {schema['name']}"
    parsed, named = _parse(schema, books)
    whole = fastavro.parse_schema(schema, named_schemas=dict(named), expand=True)
    return Version(name=name, number=number, schema=parsed, header=MAGIC + fingerprint(parsed), whole=whole)


def _parse(schema: Schema, books: Mapping[str, Schema]) -> tuple[Any, dict[str, Any]]:
    """Return a parsed schema, and the records it refers to."""
    named: dict[str, Any] = {}
    while True:
        try:
            return fastavro.parse_schema(schema, named_schemas=dict(named)), named
        except fastavro.schema.UnknownType as unknown:
            fastavro.parse_schema(books[unknown.name], named_schemas=named)


def _by_header(versions: Iterable[Version]) -> dict[bytes, Version]:
    found: dict[bytes, Version] = {}
    for each in versions:
        other = found.setdefault(each.header, each)
        assert other is each, (
            f"{each.name}.{each.number} and {other.name}.{other.number} begin with the same bytes: "
            "write the record they embed out in full where it is named"
        )
    return found


def canonical(schema: Any) -> str:
    """Return Avro's Parsing Canonical Form."""
    return str(fastavro.schema.to_parsing_canonical_form(schema))


def fingerprint(schema: Any) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema, little-endian as it stands in a record."""
    return bytes.fromhex(fastavro.schema.fingerprint(canonical(schema), "CRC-64-AVRO"))
