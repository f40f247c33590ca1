"""Every version of a record stays readable: by the present, and the present by it."""

from __future__ import annotations

import io
import itertools
import json
from typing import TYPE_CHECKING, Any, Final

import blake3
import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec, compatibility, versions
from schemas.errors import FormatError
from tests import builders
from tests.vectors import make

if TYPE_CHECKING:
    from collections.abc import Iterable

PRESENT, ALL = versions.load()
FROZEN: Final = json.loads(make.RECORDS_FILE.read_text(encoding="utf-8"))
PAIRS: Final = [
    pytest.param(*pair, id=f"{pair[0].name}.{pair[0].number} to .{pair[1].number}")
    for pair in itertools.permutations(ALL.values(), 2)
    if pair[0].name == pair[1].name and PRESENT[pair[0].name] in pair
] or [pytest.param(PRESENT["Frontier"], PRESENT["Frontier"], id="no earlier version yet")]
WIDTHS: Final = {"int": 31, "long": 63}


def records(schema: Any) -> st.SearchStrategy[Any]:
    """Return records of a schema in which every named type is written out."""
    match schema["type"] if isinstance(schema, dict) else schema:
        case "record":
            return st.fixed_dictionaries({each["name"]: records(each["type"]) for each in schema["fields"]})
        case "enum":
            return st.sampled_from(schema["symbols"])
        case "array":
            return st.lists(records(schema["items"]), max_size=2)
        case "int" | "long" as kind:
            return st.integers(-(1 << WIDTHS[kind]), (1 << WIDTHS[kind]) - 1)
        case kind:
            return {"string": st.text(), "bytes": st.binary(), "boolean": st.booleans(), "null": st.none()}[kind]


def carried(record: Any, writer: Any, reader: Any) -> Any:
    """Return what the reader's schema makes of a record of the writer's."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, writer, record)
    out.seek(0)
    return fastavro.schemaless_reader(out, writer, reader)


def drafted(name: str) -> dict[str, Any]:
    """Return a present schema as its file has it."""
    schema: dict[str, Any] = json.loads((make.AVRO / f"{name}.avsc").read_text(encoding="utf-8"))
    return schema


def edited(change: str) -> dict[str, Any]:
    """Return the schema of changes after an edit: what somebody may try."""
    schema = drafted("backup_change")
    exec(change, {"fields": schema["fields"]})  # noqa: S102 - the tables below, nothing else
    return schema


def test_every_version_ever_written_is_known_with_the_layout_it_had() -> None:
    """A record's first bytes say how to read it, for ever: also of a record that embeds another."""
    known = {each.header.hex(): blake3.blake3(each.layout.encode()).hexdigest() for each in ALL.values()}

    assert known == {header: each["layout"] for header, each in FROZEN.items()}, "run python -m tests.vectors.make"


@pytest.mark.parametrize("header", FROZEN)
def test_a_frozen_record_of_any_version_is_read_as_the_present_has_it(header: str) -> None:
    """What it had is there, what it had not has its default."""
    version, value = ALL[bytes.fromhex(header)], bytes.fromhex(FROZEN[header]["value"])
    read = codec.decode(version.name, value)
    wrote = fastavro.schemaless_reader(io.BytesIO(value[10:]), version.whole, None)

    assert read.keys() == {each["name"] for each in codec.SCHEMAS[version.name]["fields"]}
    assert {name: wrote[name] for name in wrote if name in read} == {name: read[name] for name in wrote if name in read}


@pytest.mark.parametrize(("writer", "reader"), PAIRS)
def test_present_and_earlier_versions_read_each_other(writer: versions.Version, reader: versions.Version) -> None:
    """BACKWARD for packs of years ago, FORWARD for a worker rolled back."""
    assert compatibility.unreadable(writer=writer.whole, reader=reader.whole) == []


@pytest.mark.parametrize(("writer", "reader"), PAIRS)
@given(data=st.data())
def test_generated_records_are_carried_between_versions(
    writer: versions.Version, reader: versions.Version, data: st.DataObject
) -> None:
    """The rule's verdict is what the library does."""
    carried(data.draw(records(writer.whole)), writer.whole, reader.whole)


EDITS: Final = {
    "fields.append({'name': 'rank', 'type': 'int'})": "BackupChange.rank: the reader needs it",
    "fields[:] = [each for each in fields if each['name'] != 'position']": "BackupChange.position: the reader needs it",
    "fields[2]['name'] = 'place'": "BackupChange.place: the reader needs it",
    "fields[1]['type'] = 'int'": "BackupChange.epoch: a long was written, a int is wanted",
    "fields[-1]['type'] = 'long'": "BackupChange.payload: a bytes was written, a long is wanted",
    "fields[3]['type'].pop('default'), fields[3]['type']['symbols'].pop(0)": "BackupChange.kind: the reader",
    "fields[3]['type']['name'] = 'wedsync.Sort'": "BackupChange.kind: a ChangeKind was written, a Sort is wanted",
    "fields[5]['type']['default'] = 'moon'": "BackupChange.residency: the default moon is no symbol",
    "next(e for e in fields if e['name'] == 'also')['type']['items'] = 'int'": "BackupChange.also[]: a string was",
}


@pytest.mark.parametrize(("change", "says"), EDITS.items())
def test_an_edit_that_strands_old_or_new_records_is_refused_by_field(change: str, says: str) -> None:
    """The message names the field, whichever direction breaks."""
    before, after = drafted("backup_change"), edited(change)
    said = [
        *compatibility.unreadable(writer=before, reader=after),
        *compatibility.unreadable(writer=after, reader=before),
    ]

    assert [each for each in said if each.startswith(says)], said


@pytest.mark.parametrize(
    "change",
    [
        "fields.append({'name': 'rank', 'type': 'int', 'default': 0})",
        "fields.append({'name': 'note', 'type': ['null', 'string'], 'default': None})",
        "fields[3]['type']['symbols'].append('event')",
        "fields[:] = [each for each in fields if each['name'] != 'also']",
    ],
)
@given(data=st.data())
def test_an_edit_that_strands_nothing_is_taken_both_ways(change: str, data: st.DataObject) -> None:
    """And records do travel between the two."""
    before, after = drafted("backup_change"), edited(change)

    assert compatibility.unreadable(writer=before, reader=after) == []
    assert compatibility.unreadable(writer=after, reader=before) == []
    read = carried(data.draw(records(before)), before, after)
    assert read.get("rank", 0) == 0
    newer = {**read, "kind": "event"} if "event" in str(after) else read
    assert carried(newer, after, before)["kind"] == ("undecodable" if "event" in str(after) else read["kind"])


def earlier_version(change: str) -> versions.Version:
    """Return a version of BackupChange that never was, as if it stood in the history."""
    present = {name: drafted(name) for name in ("frontier", "backup_change")}
    history = {("BackupChange", 1): edited(change)}
    _, every = versions.arrange({each["name"]: each for each in present.values()}, history)
    return next(each for each in every.values() if (each.name, each.number) == ("BackupChange", 1))


def test_what_an_earlier_version_wrote_is_decoded_by_its_own_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack of years ago has fewer fields; the reader gets the present ones."""
    old = earlier_version("fields[:] = [each for each in fields if each['name'] not in ('also', 'again')]")
    monkeypatch.setitem(codec.VERSIONS, old.header, old)
    out = io.BytesIO(old.header)
    out.seek(10)
    fastavro.schemaless_writer(out, old.schema, builders.a_change())

    assert codec.decode("BackupChange", out.getvalue()) == builders.a_change(also=[], again=False)


def test_a_version_nobody_knows_is_never_guessed_at() -> None:
    """The bytes might well decode; that proves nothing."""
    with pytest.raises(FormatError, match="no known schema"):
        codec.decode("BackupChange", b"\xc3\x01" + bytes(8) + builders.change_value()[10:])


def test_two_layouts_may_not_begin_with_the_same_bytes() -> None:
    """An embedded record that grows changes its holder's bytes, but not by itself its holder's fingerprint."""
    present = {"Frontier": drafted("frontier"), "Checkpoint": drafted("checkpoint")}
    grown = drafted("frontier")
    grown["fields"].append({"name": "more", "type": "int", "default": 0})
    before = {**present["Checkpoint"], "references": {"wedsync.Frontier": 1}}
    history = {("Frontier", 1): present["Frontier"], ("Checkpoint", 1): before}

    with pytest.raises(AssertionError, match=r"Checkpoint\.1 and Checkpoint\.2|Checkpoint\.2 and Checkpoint\.1"):
        versions.arrange({**present, "Frontier": grown}, history)


def fields_of(schema: Any) -> Iterable[dict[str, Any]]:
    """Yield every field of a schema, also of the records inside."""
    if isinstance(schema, dict):
        yield from schema.get("fields", ())
        for child in (*(each["type"] for each in schema.get("fields", ())), schema.get("items")):
            yield from fields_of(child)


def test_no_field_has_a_default_its_type_does_not_take() -> None:
    """A default for bytes is text in a schema, and the library hands it out as text: such a field is always written."""
    found = [
        f"{name}.{each['name']}"
        for name, version in PRESENT.items()
        for each in fields_of(version.whole)
        if each["type"] == "bytes" and "default" in each
    ]

    assert found == ["PackIndex.chunk"]
