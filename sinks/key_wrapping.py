"""Wrapping: how a data key is made safe to store. The KMS port, and the local key file of the demo.

A wrapped key opens only under the same context (the wedding it belongs to), so a copy put under
another wedding's name is noticed. The escrow is the master key under a passphrase: scrypt, then
AES-256-GCM.

    wrapped   "WKEY" 4 | version 1 | master id 8 | nonce 12 | ciphertext 32 + tag 16
    escrow    "WESC" 4 | version 1 | log2 N 1 | salt 16 | nonce 12 | ciphertext 32 + tag 16
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final, Protocol

import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from schemas.errors import ConfigError, CorruptionError, FormatError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_SEALED_KEY_BYTES: Final = KEY_BYTES + 16
_WRAPPED: Final = struct.Struct("<4sB8s12s48s")
_ESCROW: Final = struct.Struct("<4sBB16s12s48s")
_WRAPPED_MAGIC, _ESCROW_MAGIC, _VERSION = b"WKEY", b"WESC", 1
_SCRYPT_LOG_N: Final = 16
_SCRYPT_LOG_N_MAX: Final = 22
"""An escrow that asks for more memory than 4 GiB is hostile."""


class KeyWrapper(Protocol):
    """A KMS: wraps and unwraps 32-byte data keys, bound to a context."""

    async def wrap(self, data_key: bytes, *, context: bytes) -> bytes:
        """Return the wrapped key.

        Raises:
            TransientError: the KMS is out of reach.
        """
        ...

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Return the data key.

        Raises:
            CorruptionError: altered, another context, or another master key.
            TransientError: the KMS is out of reach.
        """
        ...


class MasterKeyWrapper:
    """A KMS in a file: for one machine and the demo; whoever reads the file reads everything."""

    def __init__(self, master_key: bytes, *, randomness: Callable[[int], bytes] = os.urandom) -> None:
        if len(master_key) != KEY_BYTES:
            raise FormatError(
                f"a master key has {KEY_BYTES} bytes, this one {len(master_key)}", hint="restore it from escrow"
            )
        self._cipher = AESGCM(master_key)
        self._randomness = randomness
        self.master_id = blake3.blake3(master_key, derive_key_context="wedsync master key id v1").digest()[:8]

    async def wrap(self, data_key: bytes, *, context: bytes) -> bytes:
        """See `KeyWrapper.wrap`."""
        nonce = self._randomness(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, data_key, context)
        return _WRAPPED.pack(_WRAPPED_MAGIC, _VERSION, self.master_id, nonce, sealed)

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """See `KeyWrapper.unwrap`."""
        if len(wrapped) != _WRAPPED.size:
            raise CorruptionError(f"a wrapped key of {len(wrapped)} bytes", hint="take it from another copy")
        magic, version, master_id, nonce, sealed = _WRAPPED.unpack(wrapped)
        if (magic, version) != (_WRAPPED_MAGIC, _VERSION):
            raise CorruptionError("not a wrapped key of this version", hint="take it from another copy")
        if master_id != self.master_id:
            raise ConfigError(
                "this data key was wrapped by another master key", hint="import the right escrow: `keys import`"
            )
        try:
            return self._cipher.decrypt(nonce, sealed, context)
        except InvalidTag as error:
            raise CorruptionError("a wrapped key was altered or moved", hint="take it from another copy") from error


def load_master_key(path: pathlib.Path) -> bytes:
    """Return the master key of a file.

    Raises:
        ConfigError: missing, or of the wrong length.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no master key at {path}", hint="`keys import --from ESCROW`, or `up` makes a new one"
        ) from error
    if len(content) != KEY_BYTES:
        raise ConfigError(
            f"the master key at {path} has {len(content)} bytes, not {KEY_BYTES}", hint="`keys import --from ESCROW`"
        )
    return content


def create_master_key(path: pathlib.Path, key: bytes) -> None:
    """Write a master key, readable by its owner only; an existing one is never replaced.

    Raises:
        ConfigError: there is one already.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(
            f"there is a master key at {path} already", hint="move it away first, if you really mean it"
        ) from error
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal_escrow(master_key: bytes, passphrase: str, *, randomness: Callable[[int], bytes] = os.urandom) -> bytes:
    """Return the master key sealed by a passphrase, to be kept away from the machine."""
    salt, nonce = randomness(16), randomness(_NONCE_BYTES)
    head = (_ESCROW_MAGIC, _VERSION, _SCRYPT_LOG_N)
    sealed = AESGCM(_stretch(passphrase, salt, _SCRYPT_LOG_N)).encrypt(
        nonce, master_key, b"".join((_ESCROW_MAGIC, salt))
    )
    return _ESCROW.pack(*head, salt, nonce, sealed)


def open_escrow(escrow: bytes, passphrase: str) -> bytes:
    """Return the master key of an escrow.

    Raises:
        FormatError: not an escrow.
        ConfigError: the wrong passphrase, or altered bytes.
    """
    if len(escrow) != _ESCROW.size:
        raise FormatError(f"an escrow has {_ESCROW.size} bytes, this one {len(escrow)}", hint="is this the right file?")
    magic, version, log_n, salt, nonce, sealed = _ESCROW.unpack(escrow)
    if (magic, version) != (_ESCROW_MAGIC, _VERSION) or not 1 <= log_n <= _SCRYPT_LOG_N_MAX:
        raise FormatError("not an escrow of this version", hint="is this the right file?")
    try:
        return AESGCM(_stretch(passphrase, salt, log_n)).decrypt(nonce, sealed, b"".join((_ESCROW_MAGIC, salt)))
    except InvalidTag as error:
        raise ConfigError(
            "the passphrase does not open this escrow", hint="try the passphrase it was exported with"
        ) from error


def _stretch(passphrase: str, salt: bytes, log_n: int) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=1 << log_n, r=8, p=1).derive(passphrase.encode())
