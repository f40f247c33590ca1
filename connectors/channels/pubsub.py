"""Notifications of Cloud Storage over Pub/Sub, pulled by hand: no client of its own that holds messages in memory.

The library's calls block, so they run in a thread. What is not acknowledged in time comes again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, Final

import google.api_core.exceptions as refusals
import google.auth.exceptions
from google.pubsub_v1 import SubscriberClient

from connectors.channels.port import CALL_SECONDS, HOLD_SECONDS, RECEIVE_SECONDS, Message
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BATCH_MAX: Final = 100
_REFUSED: Final = (
    refusals.NotFound,
    refusals.PermissionDenied,
    refusals.Unauthenticated,
    refusals.InvalidArgument,
    google.auth.exceptions.DefaultCredentialsError,
)


class PubSubChannel:
    """See `connectors.channels.port.Channel`; `connect` makes the client when it is first needed."""

    def __init__(self, connect: Callable[[], SubscriberClient], *, subscription: str) -> None:
        self._connect, self._subscription = connect, subscription
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pubsub")
        self._client: SubscriberClient | None = None

    async def receive(self) -> Sequence[Message]:
        """See `Channel.receive`."""
        found: list[Message] = await self._in_thread(self._pull)
        return found

    async def extend(self, messages: Sequence[Message]) -> Sequence[Message]:
        """See `Channel.extend`."""
        await self._in_thread(self._hold, [each.receipt for each in messages])
        return messages

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Channel.acknowledge`."""
        await self._in_thread(self._acknowledge, [each.receipt for each in messages])

    async def close(self) -> None:
        """See `Channel.close`."""
        client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.transport.close)
        self._thread.shutdown(wait=False)

    def _pull(self) -> list[Message]:
        try:
            found = self._connected().pull(
                request={"subscription": self._subscription, "max_messages": _BATCH_MAX},
                timeout=RECEIVE_SECONDS,
                retry=None,
            )
        except refusals.DeadlineExceeded:
            return []
        receipts = [each.ack_id for each in found.received_messages]
        if receipts:
            self._hold(receipts)
        return [
            Message(
                payload=bytes(each.message.data),
                attributes=dict(each.message.attributes),
                receipt=each.ack_id,
                position=each.message.message_id,
            )
            for each in found.received_messages
        ]

    def _hold(self, receipts: list[str]) -> None:
        self._connected().modify_ack_deadline(
            request={
                "subscription": self._subscription,
                "ack_ids": receipts,
                "ack_deadline_seconds": HOLD_SECONDS,
            },
            timeout=CALL_SECONDS,
            retry=None,
        )

    def _acknowledge(self, receipts: list[str]) -> None:
        self._connected().acknowledge(
            request={"subscription": self._subscription, "ack_ids": receipts}, timeout=CALL_SECONDS, retry=None
        )

    def _connected(self) -> SubscriberClient:
        if self._client is None:
            self._client = self._connect()
        return self._client

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        running = asyncio.get_running_loop().run_in_executor(self._thread, call, *args)
        try:
            return await asyncio.wait_for(running, 2 * CALL_SECONDS)
        except _REFUSED as error:
            raise ConfigError(
                f"the subscription refuses us: {type(error).__name__}",
                hint="see [[buckets]]: channel_name, credentials",
            ) from error
        except (refusals.GoogleAPIError, google.auth.exceptions.GoogleAuthError, TimeoutError) as error:
            raise TransientError(f"Pub/Sub does not answer: {type(error).__name__}", hint="is it reachable?") from error


def subscriber(endpoint: str, credentials_file: str) -> SubscriberClient:
    """Return a client; with an `endpoint` (host:port) that of an emulator, without login and encryption."""
    if endpoint:
        import grpc  # noqa: PLC0415 - only for emulators
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport  # noqa: PLC0415

        return SubscriberClient(transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(endpoint)))
    if credentials_file:
        found: SubscriberClient = SubscriberClient.from_service_account_file(credentials_file)
        return found
    return SubscriberClient()
