"""The port of a notification channel: at least once, in any order, acknowledged by whoever made it durable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECEIVE_SECONDS: Final = 5.0
"""How long a receive waits for something to come."""
CALL_SECONDS: Final = 20.0
"""How long any other call may take."""
HOLD_SECONDS: Final = 120
"""How long a received message is ours before the channel hands it out again."""


class Message(NamedTuple):
    """One message as it came; `receipt` is what the channel wants back, `position` names it for a person."""

    payload: bytes
    attributes: Mapping[str, str]
    receipt: Any
    position: str = ""


class Channel(Protocol):
    """Hands out messages until they are acknowledged. One caller at a time.

    What is not acknowledged comes again, to this process or the next; so nothing may be acknowledged
    before it is durable elsewhere. Every call ends within a bounded time.
    """

    async def receive(self) -> Sequence[Message]:
        """Return what has come, waiting a few seconds for it; nothing is an answer too.

        Raises:
            TransientError: the channel does not answer.
            ConfigError: it refuses us, or does not exist.
        """
        ...

    async def extend(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Keep messages for another `HOLD_SECONDS`; return them with the receipts they have now.

        Raises:
            TransientError: the channel does not answer: some may come again.
        """
        ...

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """Say that these need not come again.

        Raises:
            TransientError: the channel does not answer: they will come again.
        """
        ...

    async def close(self) -> None:
        """Let go of what is not acknowledged."""
        ...
