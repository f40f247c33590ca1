"""Dead letters: what could not be read, kept as it came until somebody decides. Pure.

A letter travels twice: to the topic of dead letters, where tools look for it and which ages out, and as
a change under the pseudo-wedding `@unread`, so that it is sealed, replicated and rebuilt like any
other change. What becomes of it travels the same way, as an outcome. Who asks for a retry puts the
letter itself on its source's capture topic: the router takes the record inside at its old position,
so however late and however often it is routed, nothing newer is overwritten.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import blake3

from schemas import codec
from schemas.backup import UNREAD, Residency
from schemas.errors import FormatError
from schemas.topics import DEAD_LETTERS, SOURCE_BYTES_MAX
from streams.records import Outgoing, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ID_DIGITS: Final = 12
PART_BYTES: Final = 8 << 20
_REASON_CHARACTERS_MAX: Final = 500
_MILLI: Final = 1000
_RESOLVING: Final = frozenset({"retried", "discarded"})

POISON: Final = (
    FormatError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What one record's content can raise in us. Whatever it is, it costs a dead letter and never the worker:
the record would be read again after every restart. State, Kafka and holes in the log raise other errors."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a record lay, and what is known of its source; instants in microseconds since 1970 UTC."""

    origin: str
    partition: int = 0
    source: str = ""
    epoch: int = 0
    committed_us: int = 0


def letter_id(origin: str, partition: int, offset: int) -> str:
    """Return the id of the letter a record became: it follows from its place alone."""
    return blake3.blake3(f"{origin}/{partition}/{offset}".encode()).hexdigest()[:ID_DIGITS]


def reason_of(error: BaseException) -> str:
    """Return why a record is a letter, short enough to be shown; never more of its content than the error quotes."""
    text = str(error) if isinstance(error, FormatError) else repr(error)
    return (text.encode(errors="replace").decode() or type(error).__name__)[:_REASON_CHARACTERS_MAX]


def letters_of(record: Record, place: Place, reason: str) -> list[dict[str, Any]]:
    """Return the `DeadLetter` of a record; one that no record could carry whole comes in parts."""
    value = record.value
    is_whole = size_bytes(record) <= SOURCE_BYTES_MAX
    pieces = [value] if is_whole or value is None else [
        value[at : at + PART_BYTES] for at in range(0, len(value), PART_BYTES)
    ]  # fmt: skip
    headers = [{"name": name, "value": held} for name, held in record.headers] if is_whole else []
    return [
        {
            "origin": place.origin,
            "partition": place.partition,
            "offset": record.offset,
            "source": place.source,
            "epoch": place.epoch,
            "captured_at": record.timestamp_ms * _MILLI,
            "committed_at": place.committed_us,
            "reason": reason,
            "key": record.key if is_whole or len(record.key or b"") <= PART_BYTES else None,
            "headers": headers,
            "value": piece,
            "part": number,
            "parts": len(pieces),
        }
        for number, piece in enumerate(pieces)
    ]


def size_bytes(record: Record) -> int:
    """Return how large a record is: key, value and headers."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def on_its_topic(record: Record, topic: str, reason: str) -> Outgoing:
    """Return the record for the topic of dead letters: as it came, with the reason and its place in headers.

    Of one too large the topic gets the place only; its bytes lie in the archive, in parts.
    """
    is_whole = size_bytes(record) <= SOURCE_BYTES_MAX
    headers = (
        *(record.headers if is_whole else ()),
        ("wedsync.reason", reason.encode()),
        ("wedsync.topic", topic.encode()),
        ("wedsync.offset", str(record.offset).encode()),
    )
    key, value = (record.key, record.value) if is_whole else (None, None)
    return Outgoing(DEAD_LETTERS, None, key, value, headers)


def letter_changes(record: Record, place: Place, reason: str) -> list[bytes]:
    """Return the changes that carry a record's letter into the archive."""
    letters = letters_of(record, place, reason)
    # What tells repetitions apart by their place must not drop parts, nor what has no place in a source.
    is_again = len(letters) > 1 or not place.source
    return [
        _change("DeadLetter", letter, place.source or "@unknown", place.epoch, record, is_again=is_again)
        for letter in letters
    ]


def outcome_change(about: Mapping[str, Any], source: str, epoch: int, record: Record) -> bytes:
    """Return the change that carries an outcome into the archive; `record` is the one that brought it."""
    return _change("DeadLetterOutcome", about, source, epoch, record, is_again=True)


def _change(name: str, about: Mapping[str, Any], source: str, epoch: int, record: Record, *, is_again: bool) -> bytes:
    at_us = record.timestamp_ms * _MILLI
    return codec.encode(
        "BackupChange",
        {
            "source": source,
            "epoch": epoch,
            "position": record.offset,
            "kind": "undecodable",
            "wedding": UNREAD,
            "residency": Residency.UNKNOWN.value,
            "committed_at": at_us,
            "captured_at": at_us,
            "again": is_again,
            "payload": codec.encode(name, dict(about)),
        },
    )


def letter_in(record: Record, source: str) -> dict[str, Any]:
    """Return the letter that somebody asks to route again.

    Raises:
        FormatError: it is of another source, where its position would mean something else.
    """
    letter = codec.decode("DeadLetter", record.value or b"")
    if letter["source"] != source:
        raise FormatError(f"a letter of source {letter['source']!r}", hint="retry it on its own capture topic")
    return letter


def retried_change(letter: Mapping[str, Any], reason: str, epoch: int, record: Record) -> bytes:
    """Return the change that tells how a retry went: `reason` is empty where it went well."""
    about = {
        "letter": letter_id(letter["origin"], letter["partition"], letter["offset"]),
        "outcome": "failed" if reason else "retried",
        "reason": reason,
        "decided_at": record.timestamp_ms * _MILLI,
    }
    return outcome_change(about, letter["source"], epoch, record)


def sealed_again(outgoing: Outgoing) -> Outgoing:
    """Return a routed change marked as sealed again on purpose: its position is old, and that is right."""
    change = codec.decode("BackupChange", outgoing.value or b"")
    return outgoing._replace(value=codec.encode("BackupChange", {**change, "again": True}))


def refuse_too_large(record: Record) -> None:
    """Refuse what would not fit on a topic of ours any more, once it is in an envelope.

    Raises:
        FormatError: it is larger than a record of a source may be.
    """
    if size_bytes(record) > SOURCE_BYTES_MAX:
        raise FormatError(f"{size_bytes(record)} bytes", hint="no record of a source may be so large")


def record_of(letter: Mapping[str, Any]) -> Record:
    """Return the record that became a letter, as it came."""
    return Record(
        letter["offset"],
        letter["captured_at"] // _MILLI,
        letter["key"],
        letter["value"],
        tuple((each["name"], each["value"]) for each in letter["headers"]),
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter as the archive has it; `outcome` is empty while it is unresolved.

    `reasons` are why it died and what was said of it since. `repeats` names the letter of the same bytes that came
    first. `about["value"]` is there only if it was asked for.
    """

    letter: str
    about: Mapping[str, Any]
    size_bytes: int
    is_complete: bool
    outcome: str
    reasons: tuple[str, ...]
    repeats: str

    @property
    def is_resolved(self) -> bool:
        """Whether nothing of it is unprotected any more."""
        return bool(self.outcome)


class Letters:
    """Gathers letters and outcomes from changes, in any order and any number of times.

    Values are let go unless `keep` says so of a letter's id: a flood of letters must not fill the memory.
    """

    def __init__(self, keep: Callable[[str], bool] = lambda _letter: False) -> None:
        self._keep = keep
        self._parts: dict[str, dict[int, _Part]] = {}
        self._outcomes: dict[str, dict[tuple[int, str], str]] = {}

    def take(self, change: Mapping[str, Any]) -> None:
        """Take a change of `@unread`.

        Raises:
            FormatError: its payload is neither a letter nor an outcome.
        """
        payload = change["payload"]
        if codec.name_of(payload) == "DeadLetterOutcome":
            outcome = codec.decode("DeadLetterOutcome", payload)
            said = self._outcomes.setdefault(outcome["letter"], {})
            said[outcome["decided_at"], outcome["outcome"]] = outcome["reason"]
            return
        letter = codec.decode("DeadLetter", payload)
        name = letter_id(letter["origin"], letter["partition"], letter["offset"])
        value = letter["value"]
        digest = None if value is None else blake3.blake3(value).digest()
        about = letter if self._keep(name) else {**letter, "value": None}
        self._parts.setdefault(name, {})[letter["part"]] = _Part(about, len(value or b""), digest)

    def all(self) -> list[Letter]:
        """Return every letter in the order of its capture.

        What Connect sent again after a crash became a letter again; the first one counts, since its position is the
        one the change had, and the later ones are resolved by it.
        """
        found = sorted(self._parts.items(), key=lambda item: (_place(item[1]), item[0]))
        first: dict[tuple[Any, ...], str] = {}
        return [self._letter(name, [parts[each] for each in sorted(parts)], first) for name, parts in found]

    def unresolved(self) -> list[Letter]:
        """Return the letters that nobody has retried with success, or discarded."""
        return [each for each in self.all() if not each.is_resolved]

    def _letter(self, name: str, parts: Sequence[_Part], first: dict[tuple[Any, ...], str]) -> Letter:
        about = dict(parts[0].about)
        if about["value"] is not None:
            about["value"] = b"".join(each.about["value"] for each in parts)
        said = sorted(self._outcomes.get(name, {}).items())
        resolving = [outcome for (_, outcome), _ in said if outcome in _RESOLVING]
        is_complete, repeats = len(parts) == about["parts"], name
        if is_complete and about["source"] and parts[0].digest is not None:
            content = (about["source"], about["epoch"], tuple(each.digest for each in parts))
            repeats = first.setdefault(content, name)
        return Letter(
            letter=name,
            about=about,
            size_bytes=sum(each.size_bytes for each in parts),
            is_complete=is_complete,
            outcome=resolving[0] if resolving else "repeated" if repeats != name else "",
            reasons=(about["reason"], *(reason for _, reason in said if reason)),
            repeats=repeats if repeats != name else "",
        )


class _Part(NamedTuple):
    about: Mapping[str, Any]
    size_bytes: int
    digest: bytes | None


def _place(parts: Mapping[int, _Part]) -> tuple[int, int, int]:
    letter = parts[min(parts)].about
    return letter["captured_at"], letter["epoch"], letter["offset"]
