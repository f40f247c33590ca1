"""What can go wrong, split by whose move it is next.

Each error says what happened and why in its message, and what to do in `hint`.
Nothing else in this project invents an exception class of its own.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - part of a public signature


class WedSyncError(Exception):
    """Any failure this project names: `message` is what and why, `hint` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class TransientError(WedSyncError):
    """The world was busy: try again, not before `retry_after`."""

    def __init__(self, message: str, *, hint: str = "", retry_after: dt.timedelta | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class CorruptionError(WedSyncError):
    """These bytes are not the bytes we wrote: repair from another copy, never retry."""


class RefusedError(WedSyncError):
    """A rule of ours forbids it: residency, fencing, erasure, a cut beyond the frontier."""


class ConfigError(WedSyncError):
    """The operator must change a setting; the message names it."""


class FormatError(WedSyncError):
    """The input is not what its format says."""
