"""Dead letters as an operator meets them: listed, read, retried, discarded.

They are read from the archive, not from their topic: the topic ages out, and what is in the archive is
what counts as unprotected. A retry puts the letter on its source's capture topic, where the router takes it up
like any record: whoever dies in between, asking again comes to the same end. What a sink could not read
is decoded here, by a newer version, and goes back to its partition.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING, Any, Final

from ops import bootstrap, restoring
from ops.notice_log import newest_epoch_topic
from ops.stack import control
from schemas import codec
from schemas.backup import UNREAD, Priority
from schemas.errors import ConfigError, FormatError, RefusedError
from schemas.partitioning import partition_of
from schemas.topics import backup_topic
from sinks.cut import instant
from streams.dead_letters import Letter, Letters, outcome_change, reason_of, record_of
from streams.produce import KafkaProducer
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ops.config import Settings
    from sinks.history import History
    from streams.produce import BatchProducer

_WAIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.5
_AT_ONCE: Final = 50
"""Letters retried together: each may weigh 16 MiB."""
_MICRO: Final = 1_000_000


class LetterReader:
    """Reads the archive's letters; what was read before is not read again."""

    def __init__(self, history: History, keep: Callable[[str], bool] = lambda _letter: False) -> None:
        self._history, self._seen = history, set[tuple[bytes, int]]()
        self.letters = Letters(keep)

    async def refresh(self) -> Letters:
        """Return all letters and outcomes archived by now.

        Raises:
            CorruptionError: a frame is damaged on every store.
            TransientError: the stores do not answer.
        """
        frames = [at for at in await self._history.frames(UNREAD) if (at.pack_hash, at.number) not in self._seen]
        if frames:
            async with contextlib.aclosing(self._history.changes(UNREAD, frames)) as read:
                async for at, changes in read:
                    for change in changes:
                        self.letters.take(change)
                    self._seen.add((at.pack_hash, at.number))
        return self.letters


async def listed(settings: Settings, *, is_all: bool = False) -> list[dict[str, Any]]:
    """Return the unresolved letters (or all there ever were) as plain values, the oldest first."""
    with restoring.opened(settings) as archive:
        letters = await LetterReader(restoring.history_of(archive)).refresh()
    return [described(each) for each in (letters.all() if is_all else letters.unresolved())]


def described(letter: Letter) -> dict[str, Any]:
    """Return a letter without its content."""
    about = letter.about
    return {
        "id": letter.letter,
        "origin": about["origin"],
        "partition": about["partition"],
        "offset": about["offset"],
        "captured_at": instant(about["captured_at"]).isoformat(timespec="milliseconds"),
        "bytes": letter.size_bytes,
        "state": letter.outcome or "unresolved",
        "reason": letter.reasons[0],
        "tried": [reason for reason in letter.reasons[1:] if reason],
        "repeats": letter.repeats or None,
    }


async def shown(settings: Settings, wanted: str) -> tuple[dict[str, Any], bytes | None]:
    """Return one letter with key and headers, and its bytes as they came.

    Raises:
        RefusedError: no letter, or more than one, has an id that begins so.
    """
    with restoring.opened(settings) as archive:
        history = restoring.history_of(archive)
        (letter,) = _chosen(await LetterReader(history).refresh(), [wanted])
        (letter,) = await _with_values(history, {letter.letter})
    about = letter.about
    headers = {each["name"]: each["value"].decode(errors="backslashreplace") for each in about["headers"]}
    key = None if about["key"] is None else base64.b64encode(about["key"]).decode()
    return {**described(letter), "is_complete": letter.is_complete, "key_base64": key, "headers": headers}, about[
        "value"
    ]


async def retry(
    settings: Settings, wanted: Sequence[str] | None, *, brokers: str | None = None, wait: float = _WAIT_SECONDS
) -> list[dict[str, Any]]:
    """Route letters again (None: all unresolved ones), the oldest first, and return how each went.

    One that nobody has taken up within `wait` seconds is still unresolved; asking again does no harm.

    Raises:
        RefusedError: no letter, or more than one, has an id that begins so.
        ConfigError: nothing runs here, and no brokers were named.
        TransientError: Kafka did not take the letters.
    """
    servers = brokers or await _brokers(settings)
    with restoring.opened(settings) as archive:
        reader = LetterReader(restoring.history_of(archive))
        letters = await reader.refresh()
        chosen = letters.unresolved() if wanted is None else _chosen(letters, wanted)
        before = {each.letter: len(each.reasons) for each in chosen if not each.is_resolved}
        producer = KafkaProducer({"bootstrap.servers": servers})
        try:
            for at in range(0, len(before), _AT_ONCE):
                some = await _with_values(restoring.history_of(archive), set(list(before)[at : at + _AT_ONCE]))
                await send(producer, some, partitions=settings.archive.partitions, topic_of=_topic_of(servers))
        finally:
            producer.close()
        await _until(reader, lambda all_of_them: _have_moved(all_of_them, before), wait)
    chosen_ids = {each.letter for each in chosen}
    return [described(each) for each in reader.letters.all() if each.letter in chosen_ids]


async def discard(
    settings: Settings, wanted: str, reason: str, *, brokers: str | None = None, wait: float = _WAIT_SECONDS
) -> dict[str, Any]:
    """Resolve a letter that says nothing worth keeping apart; its bytes and the reason stay in the archive.

    Raises:
        RefusedError: no letter, or more than one, has an id that begins so.
        ConfigError: nothing runs here, and no brokers were named.
        TransientError: Kafka did not take it.
    """
    servers = brokers or await _brokers(settings)
    with restoring.opened(settings) as archive:
        reader = LetterReader(restoring.history_of(archive))
        (letter,) = _chosen(await reader.refresh(), [wanted])
        producer = KafkaProducer({"bootstrap.servers": servers})
        try:
            await producer.deliver([_outcome(letter, "discarded", reason, settings.archive.partitions)])
        finally:
            producer.close()
        await _until(reader, lambda _: _of(reader, letter.letter).is_resolved, wait)
    return described(_of(reader, letter.letter))


async def send(
    producer: BatchProducer, letters: Sequence[Letter], *, partitions: int, topic_of: Callable[[str], str]
) -> None:
    """Send letters where they are taken up again; `topic_of` names a source's capture topic.

    Raises:
        TransientError: at least one may not have been taken.
    """
    outgoing: list[Outgoing] = []
    for letter in letters:
        about = letter.about
        if not letter.is_complete or about["parts"] > 1:
            outgoing.append(_outcome(letter, "failed", "too large to be routed, or not whole", partitions))
        elif about["source"]:
            value = codec.encode("DeadLetter", dict(about))
            outgoing.append(Outgoing(topic_of(about["source"]), 0, None, value))
        else:
            outgoing.extend(_back_to_its_partition(letter, partitions))
    await producer.deliver(outgoing)


def _back_to_its_partition(letter: Letter, partitions: int) -> list[Outgoing]:
    """Return what a sink could not read, as it can be read now; marked, since its position is old."""
    record, about = record_of(letter.about), letter.about
    value = record.value or b""
    try:
        if codec.name_of(value) == "BackupChange":
            value = codec.encode("BackupChange", {**codec.decode("BackupChange", value), "again": True})
    except FormatError as error:
        return [_outcome(letter, "failed", reason_of(error), partitions)]
    topic, _, _ = about["origin"].partition("@")
    again = Outgoing(topic, about["partition"], record.key, value, record.headers)
    return [again, _outcome(letter, "retried", "", partitions)]


def _outcome(letter: Letter, outcome: str, reason: str, partitions: int) -> Outgoing:
    about = letter.about
    decided_us = int(bootstrap.now().timestamp() * _MICRO)
    record = {"letter": letter.letter, "outcome": outcome, "reason": reason, "decided_at": decided_us}
    value = outcome_change(record, about["source"] or "@unknown", about["epoch"], record_of(about))
    return Outgoing(backup_topic(Priority.STANDARD), partition_of(UNREAD, partitions), UNREAD.encode(), value)


def _chosen(letters: Letters, wanted: Sequence[str]) -> list[Letter]:
    """Return the letters whose ids begin so, in the order of their capture."""
    known, found = letters.all(), set[str]()
    for prefix in wanted:
        ids = [each.letter for each in known if prefix and each.letter.startswith(prefix)]
        if len(ids) != 1:
            raise RefusedError(f"{len(ids)} dead letters begin with {prefix!r}", hint="`dead-letters ls` names them")
        found.update(ids)
    return [each for each in known if each.letter in found]


def _of(reader: LetterReader, letter: str) -> Letter:
    return next(each for each in reader.letters.all() if each.letter == letter)


def _have_moved(letters: Letters, before: dict[str, int]) -> bool:
    after = {each.letter: each for each in letters.all() if each.letter in before}
    return all(after[name].is_resolved or len(after[name].reasons) > reasons for name, reasons in before.items())


async def _with_values(history: History, wanted: Collection[str]) -> list[Letter]:
    """Return these letters with their bytes; the archive is read once more, so that memory holds only theirs."""
    letters = await LetterReader(history, keep=lambda letter: letter in wanted).refresh()
    return [each for each in letters.all() if each.letter in wanted]


async def _until(reader: LetterReader, is_done: Callable[[Letters], bool], seconds: float) -> None:
    """Read the archive until it is done, or the time is over."""
    for _ in range(int(seconds / _POLL_SECONDS)):
        if is_done(await reader.refresh()):
            return
        await asyncio.sleep(_POLL_SECONDS)


def _topic_of(servers: str) -> Callable[[str], str]:
    known: dict[str, str] = {}

    def find(source: str) -> str:
        if source not in known:
            known[source] = newest_epoch_topic(servers, source)
        return known[source]

    return find


async def _brokers(settings: Settings) -> str:
    state = await control.status(bootstrap.stack_settings(settings))
    if state is None:
        raise ConfigError("nothing runs here", hint="`wedsync-backup up`, or name the brokers with --brokers")
    return state.ports.bootstrap_servers
