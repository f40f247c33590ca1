"""From a captured value to the text Postgres reads back as the very same value. Pure.

Most types are captured as Postgres' own text already (`connectors.column_types` is the table); the others as
Debezium writes them in JSON (schemas off, `decimal.handling.mode=string`, `binary.handling.mode=base64`), a date as
days since 1970. The column's type comes from the database that takes the row. The law here: exact or refused, never
altered in silence.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import re
from typing import TYPE_CHECKING, Any, Final

from connectors.column_types import Fidelity, carriage
from schemas.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DATE_INFINITIES: Final = {2_146_033_979: "infinity", -2_147_472_691: "-infinity"}
UNAVAILABLE: Final = "__debezium_unavailable_value"
UNAVAILABLE_FORMS: Final = (UNAVAILABLE, base64.b64encode(UNAVAILABLE.encode()).decode())
NAMED_NUMBERS: Final = frozenset({"NaN", "Infinity", "-Infinity"})
NUMERIC_NAMES: Final = {"POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity", "NAN": "NaN"}
DECIMAL: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
INSTANT: Final = re.compile(
    r"([+-]?\d{4,})-(\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d{1,6})?)Z",
    re.ASCII,
)
TYPE_TEXT: Final = re.compile(r"(?P<head>.*?)\((?P<modifier>[\d, -]+)\)(?P<tail>.*)", re.ASCII | re.DOTALL)
ELEMENT: Final = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^{},"]+)', re.DOTALL)
INTEGER_BITS: Final = {"smallint": 16, "integer": 32, "bigint": 64}
BASE: Final = "b"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """A column's type: its name without modifiers, its first modifier, and the kind `pg_type.typtype` gives.

    For an array all three describe the element.
    """

    name: str
    modifier: int | None = None
    kind: str = BASE
    is_array: bool = False


@functools.lru_cache(maxsize=4096)
def column_type(text: str, *, kind: str = BASE) -> ColumnType:
    """Read a type as `format_type` writes it (`numeric(12,2)[]`); `kind` is that of the type, or of its element.

    A domain is read as the type under it: the caller resolves it.
    """
    is_array = text.endswith("[]")
    bare = text.removesuffix("[]")
    match = TYPE_TEXT.fullmatch(bare) if kind == BASE else None
    modifier = int(match["modifier"].split(",")[0]) if match else None
    name = " ".join(f"{match['head']} {match['tail']}".split()) if match else bare
    if name.startswith("interval "):  # `interval day to second` differs in what it keeps, not in its text
        name = "interval"
    return ColumnType(name=name, modifier=modifier, kind=kind, is_array=is_array)


def renamed_elements(text: str, labels: Mapping[str, str]) -> str:
    """Return an array's text with elements renamed, its bounds, nesting and NULLs as they were."""
    bounds, _, body = text.partition("=") if text.startswith("[") else ("", "", text)

    def renamed(match: re.Match[str]) -> str:
        if match["plain"] is not None and match["plain"].upper() == "NULL":
            return match["plain"]
        element = match["plain"] if match["plain"] is not None else re.sub(r"\\(.)", r"\1", match["quoted"])
        escaped = labels.get(element, element).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    return (f"{bounds}=" if bounds else "") + ELEMENT.sub(renamed, body)


def to_pg_text(value: Any, target: ColumnType | str) -> str | None:
    """Return the text form of a captured value for a column of type `target`; None is NULL.

    Raises:
        FormatError: this value cannot become that type exactly; the message names the type, never the value.
    """
    wanted = column_type(target) if isinstance(target, str) else target
    if value is None:
        return None
    if value in UNAVAILABLE_FORMS:
        raise FormatError(
            f"a large {wanted.name} value was not captured", hint="its table needs REPLICA IDENTITY FULL: run `init`"
        )
    way = carriage(wanted.name, kind=wanted.kind)
    if way.fidelity is Fidelity.REFUSED:
        raise FormatError(f"a {wanted.name} cannot be restored: {way.how}", hint="cast the column to text")
    is_translated = wanted.kind == BASE and not wanted.is_array
    return CONVERTERS.get(wanted.name, _as_it_is)(value, wanted) if is_translated else _as_it_is(value, wanted)


def _mismatch(value: Any, wanted: ColumnType) -> FormatError:
    """Say what kind of value came, never which: it may be anybody's secret."""
    return FormatError(
        f"a captured {type(value).__name__} is no {wanted.name}{'[]' if wanted.is_array else ''}",
        hint="the column's type changed since, or the connector's settings are not ours",
    )


def _as_it_is(value: Any, wanted: ColumnType) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, wanted)
    return value


def _integer(value: Any, wanted: ColumnType) -> str:
    bits = INTEGER_BITS.get(wanted.name, 33)  # an oid is unsigned: 33 bits hold it with its sign
    if type(value) is not int or not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise _mismatch(value, wanted)
    return str(value)


def _floating(value: Any, wanted: ColumnType) -> str:
    """The shortest text that reads back as the same float; capture writes the infinite ones as texts."""
    if isinstance(value, str) and value in NAMED_NUMBERS:
        return value
    if type(value) not in (float, int):
        raise _mismatch(value, wanted)
    return repr(value)


def _decimal(value: Any, wanted: ColumnType) -> str:
    """Digits as they came: a float has lost some already."""
    if type(value) is int:
        return str(value)
    text = NUMERIC_NAMES.get(value, value) if isinstance(value, str) else None
    if text is None or not (text in NAMED_NUMBERS or DECIMAL.fullmatch(text)):
        raise _mismatch(value, wanted)
    return text


def _boolean(value: Any, wanted: ColumnType) -> str:
    if not isinstance(value, bool):
        raise _mismatch(value, wanted)
    return "t" if value else "f"


def _bytes(value: Any, wanted: ColumnType) -> str:
    try:
        return "\\x" + base64.b64decode(value, validate=True).hex()
    except (TypeError, ValueError, binascii.Error) as error:
        raise _mismatch(value, wanted) from error


def _date(value: Any, wanted: ColumnType) -> str:
    if type(value) is not int:
        raise _mismatch(value, wanted)
    if value in DATE_INFINITIES:
        return DATE_INFINITIES[value]
    day, era = _calendar_day(value)
    return day + era


def _instant(value: Any, wanted: ColumnType) -> str:
    if value in ("infinity", "-infinity"):
        return str(value)
    match = INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _mismatch(value, wanted)
    year, era = _year(int(match[1]))
    return f"{year}-{match[2]} {match[3]}+00{era}"


def _calendar_day(days: int) -> tuple[str, str]:
    """Return `YYYY-MM-DD` and the era of a day counted from 1970-01-01, over all of Postgres' range.

    The proleptic Gregorian calendar, reckoned in eras of 400 years that begin on the first of March.
    """
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9  # noqa: PLR2004 - January and February
    year, bc = _year(year_of_era + era * 400 + (month <= 2))  # noqa: PLR2004 - belong to the next year
    return f"{year}-{month:02d}-{day:02d}", bc


def _year(year: int) -> tuple[str, str]:
    """There is no year 0 in Postgres: ISO's 0 is 1 BC."""
    return (f"{year:04d}", "") if year > 0 else (f"{1 - year:04d}", " BC")


CONVERTERS: Final[dict[str, Callable[[Any, ColumnType], str]]] = {
    **dict.fromkeys((*INTEGER_BITS, "oid"), _integer),
    **dict.fromkeys(("real", "double precision"), _floating),
    "numeric": _decimal,
    "boolean": _boolean,
    "bytea": _bytes,
    "date": _date,
    "timestamp with time zone": _instant,
}
