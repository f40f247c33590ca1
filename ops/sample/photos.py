"""Photos nobody took: pseudo-JPEG bytes from a seed, as incompressible as real ones. Pure, but for `write_photo`.

Some photos are the same file under another name, and some share all but a stretch in the middle:
what a guest uploads twice, and what a photographer retouches. Deduplication has something to find.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

HEAD: Final = bytes.fromhex("ffd8ffe000104a46494600010101004800480000")  # SOI and a JFIF APP0
TAIL: Final = bytes.fromhex("ffd9")  # EOI
SIZE_BYTES_MIN: Final = 1_000_000
SIZE_BYTES_MAX: Final = 5_000_000
SIZE_BYTES_FLOOR: Final = len(HEAD) + len(TAIL)
ALBUM_PHOTOS: Final = 8
TWIN_SHARE: Final = 0.04
RETOUCHED_SHARE: Final = 0.06
RETOUCHED_BYTES: Final = 40_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhotoContent:
    """What a photo file holds: the same value gives the same bytes; `retouch` None is the original."""

    seed: int
    size_bytes: int
    retouch: int | None = None


def photo_contents(rng: random.Random, *, photos: int, photo_bytes_total: int) -> Iterator[PhotoContent]:
    """Yield `photos` contents whose sizes add up to exactly `photo_bytes_total`, album by album.

    Sizes lie between 1 and 5 MB where the total allows it; twins are found inside one album only.
    """
    album: list[PhotoContent] = []
    carried = 0
    for index, size in enumerate(_sizes(rng, photos, photo_bytes_total)):
        if index % ALBUM_PHOTOS == 0:
            album = []
        content = _content(rng, size + carried, album, may_repeat=index < photos - 1)
        carried += size - content.size_bytes
        album.append(content)
        yield content


def _content(rng: random.Random, size: int, album: list[PhotoContent], *, may_repeat: bool) -> PhotoContent:
    chance = rng.random()
    if not (album and may_repeat and chance < TWIN_SHARE + RETOUCHED_SHARE):
        return PhotoContent(seed=rng.getrandbits(64), size_bytes=max(SIZE_BYTES_FLOOR, size))
    original = rng.choice(album)
    return original if chance < TWIN_SHARE else dataclasses.replace(original, retouch=rng.getrandbits(32))


def photo_bytes(content: PhotoContent) -> bytes:
    """Return the file's bytes: exactly `size_bytes`, no marker inside the scan."""
    scan = _noise(content.seed, content.size_bytes - SIZE_BYTES_FLOOR)
    if content.retouch is not None:
        start = content.retouch % max(1, len(scan) - RETOUCHED_BYTES)
        patch = _noise(content.retouch, min(RETOUCHED_BYTES, len(scan) - start))
        scan = scan[:start] + patch + scan[start + len(patch) :]
    return HEAD + scan + TAIL


def _noise(seed: int, size_bytes: int) -> bytes:
    """Incompressible bytes of a seed, by a cipher's keystream: twenty times as fast as `random`'s."""
    key = hashlib.sha256(b"photo %d" % seed).digest()
    keystream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size_bytes))
    return keystream.replace(b"\xff", b"\xfe")  # 0xFF would begin a marker


def write_photo(path: Path, contents: bytes) -> None:
    """Put the whole file at `path` at once: nobody sees half a photo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(contents)
    os.replace(unfinished, path)  # noqa: PTH105 - says what it does: it replaces


def _sizes(rng: random.Random, photos: int, total: int) -> list[int]:
    draws = [rng.uniform(SIZE_BYTES_MIN, SIZE_BYTES_MAX) for _ in range(photos)]
    sizes = [int(draw * total / sum(draws)) for draw in draws]
    if sizes:
        sizes[-1] += total - sum(sizes)
    return sizes
