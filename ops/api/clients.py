"""Who may send events: names and hashes of tokens in a file, never the tokens themselves.

A token is 32 random bytes, so its SHA-256 needs no salt and no slowness. The file is read again
whenever it changed: whoever is struck from it is refused from the next request on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import re
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import ConfigError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

TOKEN_BYTES: Final = 32
TOKEN_PREFIX: Final = "wse_"  # noqa: S105 - what every token begins with, so that scanners of leaked secrets know it
FIRST_CLIENT: Final = "default"
_NAME: Final = re.compile(r"[a-z0-9-]{1,40}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_HINT: Final = "wedsync-backup clients add NAME --token-file FILE"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client; empty `weddings` and `sources` mean all, `sources` are beginnings."""

    name: str
    token_sha256: str = dataclasses.field(repr=False)
    weddings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def may_send(self, *, wedding: str, source: str) -> bool:
        """Return whether an event of this wedding and source may come from this client."""
        is_wedding = not self.weddings or wedding in self.weddings
        return is_wedding and (not self.sources or source.startswith(self.sources))


def token_hash(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Clients:
    """The clients of a file, as it is now."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._clients: tuple[Client, ...] = ()

    def of_token(self, token: str) -> Client | None:
        """Return whose token this is; every client is compared, so the time tells nothing.

        Raises:
            ConfigError: the file is not what it should be.
        """
        given, found = token_hash(token), None
        for client in self._now():
            if hmac.compare_digest(client.token_sha256, given):
                found = client
        return found

    def _now(self) -> tuple[Client, ...]:
        try:
            about = self._path.stat()
        except FileNotFoundError:
            return ()
        if self._seen != (about.st_mtime_ns, about.st_ino):
            self._clients = read_clients(self._path)
            self._seen = (about.st_mtime_ns, about.st_ino)
        return self._clients


def read_clients(path: pathlib.Path) -> tuple[Client, ...]:
    """Return the clients of a file; none where there is no file.

    Raises:
        ConfigError: the file is not what `clients add` writes.
    """
    if not path.exists():
        return ()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["clients"]
        clients = tuple(
            Client(
                name=str(each["name"]),
                token_sha256=str(each["token_sha256"]),
                weddings=tuple(map(str, each.get("weddings", ()))),
                sources=tuple(map(str, each.get("sources", ()))),
            )
            for each in found
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a list of clients: {type(error).__name__}", hint=_HINT) from error
    if not all(_HASH.fullmatch(each.token_sha256) for each in clients):
        raise ConfigError(f"{path}: a token_sha256 is not 64 hex digits", hint=_HINT)
    return clients


def add_client(
    path: pathlib.Path,
    name: str,
    *,
    randomness: Callable[[int], bytes],
    weddings: tuple[str, ...] = (),
    sources: tuple[str, ...] = (),
) -> str:
    """Add a client to a file, or give one that is there a new token; return the token, which is kept nowhere.

    Raises:
        ConfigError: the name or the file is not what it should be.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be a client's name", hint="a-z, 0-9 and -, at most 40")
    token = TOKEN_PREFIX + randomness(TOKEN_BYTES).hex()
    client = Client(name=name, token_sha256=token_hash(token), weddings=weddings, sources=sources)
    _write(path, [*(each for each in read_clients(path) if each.name != name), client])
    return token


def remove_client(path: pathlib.Path, name: str) -> bool:
    """Strike a client from a file; return whether it was there."""
    before = read_clients(path)
    _write(path, [each for each in before if each.name != name])
    return any(each.name == name for each in before)


def ensure_first_client(path: pathlib.Path, token_file: pathlib.Path, *, randomness: Callable[[int], bytes]) -> None:
    """Make a client and its token file where nobody has made any: the token first, so that none is ever lost."""
    if path.exists():
        return
    token = TOKEN_PREFIX + randomness(TOKEN_BYTES).hex()
    write_private(token_file, f"{token}\n")
    _write(path, [Client(name=FIRST_CLIENT, token_sha256=token_hash(token))])


def _write(path: pathlib.Path, clients: list[Client]) -> None:
    listed: list[dict[str, Any]] = [dataclasses.asdict(each) for each in clients]
    write_private(path, json.dumps({"clients": listed}, indent=2) + "\n")


def write_private(path: pathlib.Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
