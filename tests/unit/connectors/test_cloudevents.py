"""CloudEvents in their four forms: read exactly, or refused by name; nothing else ever happens."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import application, cloudevents
from connectors.application import ApplicationEvent
from connectors.cloudevents import Reception, parse_request
from schemas.errors import FormatError
from tests import builders

RECEPTION = Reception(client="app", received_us=7, mapping=builders.a_mapping(), request="r1")
EVENT: dict[str, Any] = {"specversion": "1.0", "id": "e1", "source": "/app", "type": "guest.invited"}
AVRO_SCHEMA = fastavro.parse_schema(
    {
        "namespace": "io.cloudevents",
        "type": "record",
        "name": "CloudEvent",
        "fields": [
            {"name": "attribute", "type": {"type": "map", "values": ["null", "boolean", "int", "string", "bytes"]}},
            {"name": "data", "type": ["bytes", "null", "boolean", {"type": "map", "values": "string"}]},
        ],
    }
)


def parse(body: bytes, kind: str = cloudevents.STRUCTURED, **headers: str) -> list[ApplicationEvent]:
    """Return the events of a request."""
    return parse_request(kind, {name.replace("_", "-"): value for name, value in headers.items()}, body, RECEPTION)


def structured(**members: Any) -> bytes:
    """Return a structured event with more members."""
    return json.dumps({**EVENT, **members}).encode()


def avro(attributes: dict[str, Any], data: Any) -> bytes:
    """Return an event in the Avro format, written by a library."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, AVRO_SCHEMA, {"attribute": attributes, "data": data})
    return out.getvalue()


def test_the_four_forms_say_the_same() -> None:
    """One event, sent in each way, is one event."""
    attributes = {**EVENT, "subject": "weddings/w1", "n": 3}
    forms = [
        parse(json.dumps({**attributes, "datacontenttype": "application/json", "data": {"a": 1}}).encode()),
        parse(b"[" + structured(subject="weddings/w1", n=3, data={"a": 1}) + b"]", cloudevents.BATCH),
        parse(b'{"a": 1}', "application/json", **{f"ce_{name}": str(value) for name, value in attributes.items()}),
        parse(avro({**attributes, "datacontenttype": "application/json"}, b'{"a": 1}'), cloudevents.AVRO),
    ]

    assert [len(each) for each in forms] == [1, 1, 1, 1]
    assert len({each.digest() for (each,) in forms}) == 1
    assert {each.wedding for (each,) in forms} == {"w1"}


def test_json_data_is_kept_as_the_very_text() -> None:
    """A number no double can hold comes back digit for digit."""
    number = b"1" * 5000 + b".10e-4000"
    (event,) = parse(b'{"data": {"a" :' + number + b'},"specversion":"1.0","id":"1","source":"s","type":"t"}')

    assert event.payload == b'{"a" :' + number + b"}"
    assert event.content_type == "application/json"


def test_data_of_another_type_is_text_or_base64() -> None:
    """As the JSON format has it."""
    (text,) = parse(structured(datacontenttype="text/plain", data="Zoë"))
    (raw,) = parse(structured(datacontenttype="image/png", data_base64=base64.b64encode(b"\x00\xff").decode()))

    assert (text.payload, raw.payload) == ("Zoë".encode(), b"\x00\xff")


def test_plain_json_needs_only_a_type() -> None:
    """Who sends is known by the token, which event by the request's key."""
    first, second = parse(b'[{"type": "a"}, {"type": "b"}]', "application/json")
    (alone,) = parse(b'{"type": "a"}', "application/json; charset=utf-8")

    assert [first.identity, second.identity, alone.identity] == [
        ("/clients/app", "r1-0"),
        ("/clients/app", "r1-1"),
        ("/clients/app", "r1"),
    ]


@pytest.mark.parametrize("name", ["@platform", "@index-eu", "x" * 201])
def test_no_application_speaks_for_a_pseudo_wedding(name: str) -> None:
    """They are the platform's own."""
    with pytest.raises(FormatError, match="weddingid"):
        parse(structured(weddingid=name))
    assert parse(structured(subject=f"weddings/{name}"))[0].wedding == ""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "value|expected"),
        (b"\xff", "UTF-8"),
        (b"null", "expected {"),
        (b"{}", "no id"),
        (structured() + b" x", "follows"),
        (b'{"id": "a", "id": "b"}', "twice"),
        (structured(specversion="0.3"), "specversion"),
        (structured(time="yesterday"), "RFC 3339"),
        (structured(time="2026-02-30T00:00:00Z"), "RFC 3339"),
        (structured(Subject="x"), "attribute's name"),
        (structured(subject="\x00"), "control"),
        (structured(id="\ud800"), "control"),
        (structured(extra={"deep": 1}), "attribute"),
        (structured(extra=2**31), "attribute"),
        (structured(data=1, data_base64="AA=="), "send|data"),
        (structured(data_base64="?"), "Base64"),
        (structured(datacontenttype="text/plain", data="\ud800"), "surrogate"),
        (b'{"data": ' + b"[" * 100_000, "nested|JSON"),
        (b'{"data": NaN}', "NaN"),
        (b'{"data": "\x01"}', "JSON"),
    ],
    ids=range(20),
)
def test_what_is_wrong_is_named(body: bytes, says: str) -> None:
    """Never a crash, never another error."""
    with pytest.raises(FormatError, match=says):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        avro(EVENT, b"x")[:-1],
        avro(EVENT, b"x") + b"\x00",
        b"\xff" * 40,
        b"\x00\x08\x02" + b"\x02\x00\x06\x02" * 300_000,
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
    ids=range(6),
)
def test_a_hostile_avro_body_is_refused(body: bytes) -> None:
    """A nest of a million bytes ended the process when a library read it."""
    with pytest.raises(FormatError):
        parse(body, cloudevents.AVRO)


def test_a_header_is_percent_encoded_utf_8() -> None:
    """As the HTTP binding has it."""
    (event,) = parse(b"x", "text/plain", ce_specversion="1.0", ce_id="Zo%C3%AB", ce_source="s", ce_type="t")

    assert event.id == "Zoë"
    with pytest.raises(FormatError, match="percent"):
        parse(b"x", "text/plain", ce_specversion="1.0", ce_id="%FF", ce_source="s", ce_type="t")


@given(st.binary(max_size=200), st.sampled_from([cloudevents.STRUCTURED, cloudevents.BATCH, cloudevents.AVRO, "a/b"]))
def test_arbitrary_bodies_cost_a_format_error_at_most(body: bytes, kind: str) -> None:
    """Whatever the content type claims."""
    try:
        parse(body, kind)
    except FormatError:
        return


@given(st.text(max_size=50), st.binary(max_size=50), st.dictionaries(st.text(), st.text(), max_size=3))
def test_an_event_comes_back_as_it_was(text: str, payload: bytes, extensions: dict[str, str]) -> None:
    """Encoder and decoder are each other's inverse; who sent it does not change what it says."""
    event = ApplicationEvent(
        id=text, source="s", type="t", received_us=1, payload=payload, extensions=extensions, client="a"
    )
    again = application.decode_event(application.encode_event(event))

    assert again == event
    assert (
        again.digest()
        == ApplicationEvent(
            id=text, source="s", type="t", received_us=2, payload=payload, extensions=extensions, client="b"
        ).digest()
    )
