"""Whether what one schema wrote another can read: Avro's resolution rules, and ours on top. Pure.

BACKWARD: the present reads what every earlier version wrote, since packs hold it for years. FORWARD:
an earlier version, given the writer's schema, reads what the present writes, so that a worker may be
rolled back. An enum without a default is closed for ever: a reader that meets a symbol it does
not know must stop, so a symbol may be added only where a default says what the unknown is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROMOTIONS: Final = {
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "string": {"string", "bytes"},
    "bytes": {"bytes", "string"},
}
_NAMED: Final = frozenset({"record", "enum", "fixed"})

Names = dict[str, Any]


def unreadable(*, writer: Any, reader: Any) -> list[str]:
    """Return why `reader` cannot read all that `writer` writes, each with the field it is about; nothing if it can.

    Both are schemas with every named type written out where it is named first.
    """
    return list(_Reading(_names(writer), _names(reader)).problems(writer, reader, _short(reader)))


def _short(schema: Any) -> str:
    return str(schema["name"]).rpartition(".")[2] if isinstance(schema, dict) and "name" in schema else _kind(schema)


def _kind(schema: Any) -> str:
    if isinstance(schema, list):
        return "union"
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _names(schema: Any) -> Names:
    """Return every named type of a schema by its full and its short name."""
    found: Names = {}
    if isinstance(schema, list):
        for each in schema:
            found |= _names(each)
    elif isinstance(schema, dict):
        if schema.get("type") in _NAMED:
            found |= {schema["name"]: schema, _short(schema): schema}
        children = (each["type"] for each in schema.get("fields", ()))
        for child in (*children, *(schema[key] for key in ("items", "values", "type") if key in schema)):
            found |= _names(child) if isinstance(child, dict | list) else {}
    return found


class _Reading:
    def __init__(self, written: Names, read: Names) -> None:
        self._written, self._read = written, read
        self._seen: set[tuple[str, str]] = set()

    def problems(self, writer: Any, reader: Any, path: str) -> Iterator[str]:
        writer, reader = _resolved(writer, self._written), _resolved(reader, self._read)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.problems(branch, reader, path)
        elif isinstance(reader, list):
            if all(any(self.problems(writer, branch, path)) for branch in reader):
                yield f"{path}: no branch of the reader's union takes a {_kind(writer)}"
        elif _kind(writer) != _kind(reader) or _kind(writer) not in {*_NAMED, "array", "map"}:
            yield from self._simple(_kind(writer), _kind(reader), path)
        else:
            yield from getattr(self, f"_{_kind(writer)}")(writer, reader, path)

    @staticmethod
    def _simple(writer: str, reader: str, path: str) -> Iterator[str]:
        if reader not in _PROMOTIONS.get(writer, {writer}):
            yield f"{path}: a {writer} was written, a {reader} is wanted"

    def _array(self, writer: Any, reader: Any, path: str) -> Iterator[str]:
        yield from self.problems(writer["items"], reader["items"], f"{path}[]")

    def _map(self, writer: Any, reader: Any, path: str) -> Iterator[str]:
        yield from self.problems(writer["values"], reader["values"], f"{path}{{}}")

    def _fixed(self, writer: Any, reader: Any, path: str) -> Iterator[str]:
        yield from self._same_name(writer, reader, path)
        if writer["size"] != reader["size"]:
            yield f"{path}: {writer['size']} bytes were written, {reader['size']} are wanted"

    def _enum(self, writer: Any, reader: Any, path: str) -> Iterator[str]:
        yield from self._same_name(writer, reader, path)
        unknown = [each for each in writer["symbols"] if each not in reader["symbols"]]
        if unknown and "default" not in reader:
            yield f"{path}: the reader does not know {', '.join(unknown)} and has no default symbol for it"
        if reader.get("default", reader["symbols"][0]) not in reader["symbols"]:
            yield f"{path}: the default {reader['default']} is no symbol"

    def _record(self, writer: Any, reader: Any, path: str) -> Iterator[str]:
        yield from self._same_name(writer, reader, path)
        pair = (writer["name"], reader["name"])
        if pair in self._seen:
            return
        self._seen.add(pair)
        written = {each["name"]: each for each in writer["fields"]}
        for field in reader["fields"]:
            at = f"{path}.{field['name']}"
            names = (field["name"], *field.get("aliases", ()))
            source = next((written[name] for name in names if name in written), None)
            if source is not None:
                yield from self.problems(source["type"], field["type"], at)
            elif "default" not in field:
                yield f"{at}: the reader needs it, the writer does not have it, and there is no default"

    @staticmethod
    def _same_name(writer: Any, reader: Any, path: str) -> Iterator[str]:
        if _short(writer) != _short(reader) and writer["name"] not in reader.get("aliases", ()):
            yield f"{path}: a {_short(writer)} was written, a {_short(reader)} is wanted"


def _resolved(schema: Any, names: Names) -> Any:
    """Return the type behind a name, and the inner type of a needlessly wrapped primitive."""
    if isinstance(schema, dict) and isinstance(schema.get("type"), dict | list):
        return _resolved(schema["type"], names)
    return names.get(schema, schema) if isinstance(schema, str) else schema
