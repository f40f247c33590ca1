"""Notifications over SQS, straight from S3, by way of SNS, or from EventBridge.

A received message is hidden from others for `HOLD_SECONDS`; deleting it is the acknowledgement. A queue belongs to
one bucket's connector: what it holds of other buckets is deleted unread.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import aioboto3

from connectors.channels.port import CALL_SECONDS, HOLD_SECONDS, RECEIVE_SECONDS, Message
from connectors.listings.s3 import client_config, told_apart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BATCH_MAX: Final = 10
"""The most that SQS hands out, or takes, at once."""


class SqsChannel:
    """See `connectors.channels.port.Channel`."""

    def __init__(self, connection: Mapping[str, Any], *, queue_url: str) -> None:
        self._session, self._connection, self._queue_url = aioboto3.Session(), dict(connection), queue_url
        self._open = contextlib.AsyncExitStack()
        self._client: Any = None

    async def receive(self) -> Sequence[Message]:
        """See `Channel.receive`."""
        with told_apart("the queue"):
            client = await self._connected()
            found = await client.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=_BATCH_MAX,
                WaitTimeSeconds=int(RECEIVE_SECONDS),
                VisibilityTimeout=HOLD_SECONDS,
            )
        return [
            Message(
                payload=str(each.get("Body", "")).encode(errors="surrogatepass"),
                attributes={},
                receipt=each["ReceiptHandle"],
                position=each.get("MessageId", ""),
            )
            for each in found.get("Messages", ())
        ]

    async def extend(self, messages: Sequence[Message]) -> Sequence[Message]:
        """See `Channel.extend`."""
        entries = [{**entry, "VisibilityTimeout": HOLD_SECONDS} for entry in _entries(messages)]
        with told_apart("the queue"):
            client = await self._connected()
            await client.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)
        return messages

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Channel.acknowledge`; an entry that SQS could not delete comes again, which is harmless."""
        with told_apart("the queue"):
            client = await self._connected()
            await client.delete_message_batch(QueueUrl=self._queue_url, Entries=_entries(messages))

    async def close(self) -> None:
        """See `Channel.close`."""
        self._client = None
        await self._open.aclose()

    async def _connected(self) -> Any:
        if self._client is None:
            config = client_config(read_seconds=int(CALL_SECONDS))
            self._client = await self._open.enter_async_context(
                self._session.client("sqs", config=config, **self._connection)
            )
        return self._client


def _entries(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [{"Id": str(number), "ReceiptHandle": each.receipt} for number, each in enumerate(messages)]
