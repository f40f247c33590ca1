"""The table mapping as settings: to and from the plain values that stand under `[mapping]`. Pure.

[mapping]
object_prefix = "weddings/{wedding}/"
[mapping.calendar]
table = "public.weddings"
...
[[mapping.tables]]
name = "public.guest_dietary"
key = ["guest_id", "need"]
parent = { table = "public.guests", columns = ["guest_id"], references = ["id"] }
[mapping.outbox]
table = "public.outbox"
[[mapping.object_references]]
table = "public.photos"
column = "object_key"
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigError
from schemas.mapping import (
    CalendarRule,
    DeliveryRule,
    ObjectReference,
    OutboxRule,
    ParentLink,
    TableMapping,
    TableRule,
    table_mapping,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAPPING_KEYS = frozenset({"object_prefix", "calendar", "deliveries", "tables", "outbox", "object_references"})
TABLE_KEYS = frozenset({"name", "key", "wedding_column", "parent"})
PARENT_KEYS = frozenset({"table", "columns", "references"})
CALENDAR_KEYS = frozenset({"table", "wedding", "day", "venue_zone", "residency"})
OUTBOX_KEYS = frozenset({"table", "wedding_types", "wedding_column"})
DELIVERY_KEYS = frozenset({"table", "due"})
OBJECT_KEYS = frozenset({"table", "column"})


def mapping_to_dict(mapping: TableMapping) -> dict[str, Any]:
    """Return the mapping as plain values; what is not set is left out."""
    calendar = mapping.calendar
    objects = [{"table": each.table, "column": each.column} for each in mapping.object_references]
    outbox = {} if mapping.outbox is None else {"outbox": _outbox_to_dict(mapping.outbox)}
    return {
        "object_prefix": mapping.object_prefix,
        "calendar": _without_none(
            {
                "table": calendar.table,
                "wedding": calendar.wedding,
                "day": calendar.day,
                "venue_zone": calendar.venue_zone,
                "residency": calendar.residency,
            }
        ),
        "deliveries": [{"table": rule.table, "due": rule.due} for rule in mapping.deliveries],
        "tables": [_table_to_dict(rule) for rule in mapping.tables.values()],
        **outbox,
        **({"object_references": objects} if objects else {}),
    }


def mapping_from_dict(values: Mapping[str, Any]) -> TableMapping:
    """Build the mapping from plain values.

    Raises:
        ConfigError: a missing, unknown or ill-typed setting, named by its path, or a mapping that could lose a row.
    """
    _refuse_unknown(values, MAPPING_KEYS, "mapping")
    calendar = _table(values, "calendar", "mapping")
    _refuse_unknown(calendar, CALENDAR_KEYS, "mapping.calendar")
    residency = _text(calendar, "residency", "mapping.calendar") if "residency" in calendar else None
    return table_mapping(
        [_rule(each, f"mapping.tables[{index}]") for index, each in enumerate(_tables(values, "tables"))],
        calendar=CalendarRule(
            table=_text(calendar, "table", "mapping.calendar"),
            wedding=_text(calendar, "wedding", "mapping.calendar"),
            day=_text(calendar, "day", "mapping.calendar"),
            venue_zone=_text(calendar, "venue_zone", "mapping.calendar"),
            residency=residency,
        ),
        deliveries=[
            _delivery(each, f"mapping.deliveries[{index}]") for index, each in enumerate(_tables(values, "deliveries"))
        ],
        object_prefix=_text(values, "object_prefix", "mapping") if "object_prefix" in values else "weddings/{wedding}/",
        object_references=[
            _object(each, f"mapping.object_references[{index}]")
            for index, each in enumerate(_tables(values, "object_references"))
        ],
        outbox=_outbox(_table(values, "outbox", "mapping")) if "outbox" in values else None,
    )


def mapping_to_toml(mapping: TableMapping) -> str:
    """Return the settings text of a mapping; parsed as TOML it is `{"mapping": mapping_to_dict(mapping)}`."""
    values = mapping_to_dict(mapping)
    lines = ["[mapping]", f"object_prefix = {_toml(values['object_prefix'])}", "", "[mapping.calendar]"]
    lines += [f"{name} = {_toml(value)}" for name, value in values["calendar"].items()]
    if "outbox" in values:
        lines += ["", "[mapping.outbox]", *(f"{name} = {_toml(value)}" for name, value in values["outbox"].items())]
    for array in ("deliveries", "tables", "object_references"):
        for entry in values.get(array, ()):
            lines += ["", f"[[mapping.{array}]]", *(f"{name} = {_toml(value)}" for name, value in entry.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Write a text, a list of texts, or a table of both; JSON's text escapes are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table_to_dict(rule: TableRule) -> dict[str, Any]:
    parent = rule.parent and {
        "table": rule.parent.table,
        "columns": list(rule.parent.columns),
        "references": list(rule.parent.references),
    }
    return _without_none(
        {"name": rule.name, "key": list(rule.key), "wedding_column": rule.wedding_column, "parent": parent}
    )


def _outbox_to_dict(rule: OutboxRule) -> dict[str, Any]:
    return _without_none(
        {"table": rule.table, "wedding_types": list(rule.wedding_types), "wedding_column": rule.wedding_column}
    )


def _outbox(values: Mapping[str, Any]) -> OutboxRule:
    path = "mapping.outbox"
    _refuse_unknown(values, OUTBOX_KEYS, path)
    return OutboxRule(
        table=_text(values, "table", path),
        wedding_types=_texts(values, "wedding_types", path) if "wedding_types" in values else ("wedding",),
        wedding_column=_text(values, "wedding_column", path) if "wedding_column" in values else None,
    )


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _rule(values: Mapping[str, Any], path: str) -> TableRule:
    _refuse_unknown(values, TABLE_KEYS, path)
    parent = None
    if "parent" in values:
        link = _table(values, "parent", path)
        _refuse_unknown(link, PARENT_KEYS, f"{path}.parent")
        parent = ParentLink(
            table=_text(link, "table", f"{path}.parent"),
            columns=_texts(link, "columns", f"{path}.parent"),
            references=_texts(link, "references", f"{path}.parent"),
        )
    return TableRule(
        name=_text(values, "name", path),
        key=_texts(values, "key", path),
        wedding_column=_text(values, "wedding_column", path) if "wedding_column" in values else None,
        parent=parent,
    )


def _delivery(values: Mapping[str, Any], path: str) -> DeliveryRule:
    _refuse_unknown(values, DELIVERY_KEYS, path)
    return DeliveryRule(table=_text(values, "table", path), due=_text(values, "due", path))


def _object(values: Mapping[str, Any], path: str) -> ObjectReference:
    _refuse_unknown(values, OBJECT_KEYS, path)
    return ObjectReference(table=_text(values, "table", path), column=_text(values, "column", path))


def _refuse_unknown(values: Mapping[str, Any], known: frozenset[str], path: str) -> None:
    for name in sorted(set(values) - known):
        raise ConfigError(f"{path}.{name} is not a setting", hint=f"known here: {', '.join(sorted(known))}")


def _text(values: Mapping[str, Any], name: str, path: str) -> str:
    value = values.get(name)
    if not isinstance(value, str):
        raise ConfigError(f"{path}.{name} must be a text", hint=f'write {name} = "..."')
    return value


def _texts(values: Mapping[str, Any], name: str, path: str) -> tuple[str, ...]:
    value = values.get(name)
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"{path}.{name} must be a list of texts", hint=f'write {name} = ["..."]')
    return tuple(value)


def _table(values: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    value = values.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}.{name} is missing", hint=f"write a table [{path}.{name}]")
    return value


def _tables(values: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    value = values.get(name, [])
    if not isinstance(value, list | tuple) or not all(isinstance(each, dict) for each in value):
        raise ConfigError(f"mapping.{name} must be an array of tables", hint=f"write [[mapping.{name}]]")
    return value
