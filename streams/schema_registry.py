"""A schema registry between us and the backup topics, where one is set: framed on the way in, unframed on the way out.

Everything behind the two ends speaks our own encoding, so neither routing nor packs know of a registry, and
a restore in seven years needs none. A schema is registered and a foreign id resolved once, then
remembered. A registry that does not answer is a reason to wait, never to guess: the worker ends and begins
again where it stands.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
from typing import TYPE_CHECKING, Any, Final, Protocol

from schemas import codec, wire
from schemas.errors import ConfigError, FormatError, TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from schemas.wire import SchemaId, Subject
    from streams.produce import BatchProducer
    from streams.records import Outgoing, Record, RecordBatch

COMPATIBILITY: Final = "BACKWARD"
_HTTP_CONFLICT, _HTTP_NOT_FOUND, _HTTP_SERVER = 409, 404, 500
_HTTP_TOO_MANY: Final = 429
_NOT_FOUND_CODES: Final = frozenset({_HTTP_NOT_FOUND, 40403})
_IDS_MAX: Final = 10_000
"""Ids remembered; a topic full of made-up ones must not fill the memory."""


class Registry(Protocol):
    """What is asked of a registry; answers may be remembered for ever, since an id never changes its meaning."""

    async def register(self, subject: Subject) -> int:
        """Return the id of a subject's present schema, registered if need be under BACKWARD compatibility.

        Raises:
            ConfigError: the registry finds it incompatible, or refuses us.
            TransientError: it does not answer.
        """
        ...

    async def headers_of(self, schema_id: SchemaId) -> tuple[bytes | None, ...]:
        """Return the first bytes that each branch of a registered schema has in our own encoding.

        Raises:
            FormatError: no such id, or no schema of ours.
            TransientError: it does not answer.
        """
        ...


class ConfluentRegistry:
    """Confluent's client in a thread of its own."""

    def __init__(self, url: str, *, timeout_seconds: float, client: Any = None) -> None:
        from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415 - only where one is set

        self._url = url.rpartition("@")[2]  # Never a password in a message.
        settings = {"url": url, "timeout": timeout_seconds, "max.retries": 2, "retries.max.wait.ms": 500}
        self._client = client or SchemaRegistryClient(settings)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="registry")
        self._ids: dict[str, int] = {}
        self._headers: dict[SchemaId, tuple[bytes | None, ...] | FormatError] = {}

    async def register(self, subject: Subject) -> int:
        """See `Registry.register`."""
        if subject.name not in self._ids:
            self._ids[subject.name] = await self._ask(self._register, subject)
        return self._ids[subject.name]

    async def headers_of(self, schema_id: SchemaId) -> tuple[bytes | None, ...]:
        """See `Registry.headers_of`."""
        if schema_id not in self._headers:
            if len(self._headers) >= _IDS_MAX:
                self._headers.clear()
            self._headers[schema_id] = await self._ask(self._resolve, schema_id)
        known = self._headers[schema_id]
        if isinstance(known, FormatError):
            raise known
        return known

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False)

    async def _ask(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._translated, call, *args)

    def _translated(self, call: Callable[..., Any], *args: Any) -> Any:
        from confluent_kafka.schema_registry.error import SchemaRegistryError  # noqa: PLC0415

        try:
            return call(*args)
        except SchemaRegistryError as error:
            raise self._named(error) from error
        except Exception as error:  # Whatever its HTTP library raises means that no answer came.
            raise TransientError(
                f"the schema registry at {self._url} does not answer: {error!r}", hint="is SCHEMA_REGISTRY_URL right?"
            ) from error

    def _named(self, error: Any) -> Exception:
        status, what = error.http_status_code, f"the schema registry at {self._url} says: {error.error_message}"
        if status == _HTTP_CONFLICT:
            return ConfigError(what, hint="a record changed incompatibly with what is registered: see FORMATS.md")
        if status >= _HTTP_SERVER or status == _HTTP_TOO_MANY:
            return TransientError(what, hint="the worker will ask again")
        return ConfigError(what, hint="may this user register and read schemas?")

    def _register(self, subject: Subject) -> int:
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415

        schema = Schema(subject.schema, "AVRO")
        self._client.set_compatibility(subject.name, COMPATIBILITY)
        return int(self._client.register_schema(subject.name, schema))

    def _resolve(self, schema_id: SchemaId) -> tuple[bytes | None, ...] | FormatError:
        from confluent_kafka.schema_registry.error import SchemaRegistryError  # noqa: PLC0415

        is_number = isinstance(schema_id, int)
        try:
            schema = self._client.get_schema(schema_id) if is_number else self._client.get_schema_by_guid(schema_id)
            return wire.headers_of(schema.schema_str)
        except FormatError as error:
            return error
        except SchemaRegistryError as error:
            if error.http_status_code != _HTTP_NOT_FOUND and error.error_code not in _NOT_FOUND_CODES:
                raise
            return FormatError(f"the schema registry knows no schema {schema_id}", hint="who wrote this record?")


@dataclasses.dataclass(slots=True, kw_only=True)
class RegisteredProducer:
    """Frames what goes to the backup topics; `by_record` names subjects after records instead of topics."""

    inner: BatchProducer
    registry: Registry
    by_record: bool = False

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`.

        Raises:
            ConfigError: the registry refuses a schema.
            TransientError: Kafka or the registry did not take something.
        """
        await self.inner.deliver([await self._framed(each) for each in records])

    async def _framed(self, outgoing: Outgoing) -> Outgoing:
        version = codec.VERSIONS.get((outgoing.value or b"")[:10])
        # Only the present version is registered by us; what is passed on as it came stays as it came.
        if version is None or version.header != codec.header(version.name):
            return outgoing
        subject = wire.subject_of(outgoing.topic, version.name, by_record=self.by_record)
        if subject is None:
            return outgoing
        schema_id = await self.registry.register(subject)
        return outgoing._replace(value=subject.framed(outgoing.value or b"", schema_id))


async def unframed(records: Sequence[Record], registry: Registry) -> Sequence[Record]:
    """Return records in our own encoding; what no version of ours wrote stays as it came, and becomes a dead letter.

    Raises:
        TransientError: the registry does not answer.
    """
    if all(wire.schema_id_of(each.value or b"", each.headers) is None for each in records):
        return records
    return [await _unframed(each, registry) for each in records]


async def _unframed(record: Record, registry: Registry) -> Record:
    found = wire.schema_id_of(record.value or b"", record.headers)
    if found is None:
        return record
    try:
        value = wire.unframed(record.value or b"", found[1], await registry.headers_of(found[0]))
    except FormatError:
        return record
    return record._replace(value=value, headers=wire.without_id(record.headers))


def unframing(
    handle: Callable[[RecordBatch], Awaitable[Any]], registry: Registry | None
) -> Callable[[RecordBatch], Awaitable[Any]]:
    """Return a handler of batches that sees our own encoding only; without a registry, the handler itself."""
    if registry is None:
        return handle

    async def unframe_first(batch: RecordBatch) -> Any:
        return await handle(batch._replace(records=await unframed(batch.records, registry)))

    return unframe_first
