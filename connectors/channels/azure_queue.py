"""Blob Storage's events that Event Grid puts into a storage queue.

A received message is hidden for `HOLD_SECONDS`; each time it is held longer it gets another receipt. Deleting it is the
acknowledgement.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from azure.core import exceptions as refusals
from azure.storage.queue.aio import QueueClient

from connectors.channels.port import CALL_SECONDS, HOLD_SECONDS, Message
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_BATCH_MAX: Final = 32
"""The most that a queue hands out at once."""
_IDLE_SECONDS: Final = 0.5
"""A queue answers at once, also with nothing."""
_AT_ONCE: Final = 8


class AzureQueueChannel:
    """See `connectors.channels.port.Channel`."""

    def __init__(self, connect: Callable[[], QueueClient]) -> None:
        self._connect = connect
        self._client: QueueClient | None = None

    async def receive(self) -> Sequence[Message]:
        """See `Channel.receive`."""
        found = await self._told(self._receive)
        if not found:
            await asyncio.sleep(_IDLE_SECONDS)
        return [
            Message(
                payload=str(each.content).encode(errors="surrogatepass"), attributes={}, receipt=each, position=each.id
            )
            for each in found
        ]

    async def extend(self, messages: Sequence[Message]) -> Sequence[Message]:
        """See `Channel.extend`."""

        async def hold(message: Message) -> Message:
            held = await self._told(
                lambda: self._connected().update_message(
                    message.receipt, visibility_timeout=HOLD_SECONDS, timeout=int(CALL_SECONDS)
                )
            )
            return message._replace(receipt=held)

        return await _some_at_once(hold, messages)

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Channel.acknowledge`; a message that is gone, or another's by now, comes again or need not."""

        async def delete(message: Message) -> None:
            try:
                await self._told(lambda: self._connected().delete_message(message.receipt, timeout=int(CALL_SECONDS)))
            except ConfigError as error:
                if not isinstance(error.__cause__, refusals.ResourceNotFoundError):
                    raise

        await _some_at_once(delete, messages)

    async def close(self) -> None:
        """See `Channel.close`."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _receive(self) -> list[Any]:
        pages = self._connected().receive_messages(
            messages_per_page=_BATCH_MAX,
            max_messages=_BATCH_MAX,
            visibility_timeout=HOLD_SECONDS,
            timeout=int(CALL_SECONDS),
        )
        return [each async for each in pages]

    def _connected(self) -> QueueClient:
        if self._client is None:
            self._client = self._connect()
        return self._client

    async def _told(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(2 * CALL_SECONDS):
                return await call()
        except (refusals.ClientAuthenticationError, refusals.ResourceNotFoundError, ValueError) as error:
            raise ConfigError(
                f"the queue refuses us: {type(error).__name__}", hint="see [[buckets]]: channel_name, credentials"
            ) from error
        except (refusals.AzureError, TimeoutError, OSError) as error:
            raise TransientError(
                f"the queue does not answer: {type(error).__name__}", hint="is it reachable?"
            ) from error


async def _some_at_once(call: Callable[[Message], Awaitable[Any]], messages: Sequence[Message]) -> list[Any]:
    found: list[Any] = []
    for at in range(0, len(messages), _AT_ONCE):
        found += await asyncio.gather(*(call(each) for each in messages[at : at + _AT_ONCE]))
    return found


def queue_client(connection_string: str, queue: str) -> QueueClient:
    """Return a client with bounded time-outs and retries."""
    return QueueClient.from_connection_string(
        connection_string, queue, retry_total=2, connection_timeout=5, read_timeout=int(CALL_SECONDS)
    )
