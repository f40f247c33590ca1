"""Java's properties format, as far as the stack's own settings need it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def encode_properties(settings: Mapping[str, str]) -> str:
    """Return the settings as a properties file, in their own order."""
    return "".join(f"{name}={_escape(value)}\n" for name, value in settings.items())


def _escape(value: str) -> str:
    # A backslash begins an escape, and a value that begins with a space would lose it.
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
    return f"\\{escaped}" if escaped.startswith(" ") else escaped
