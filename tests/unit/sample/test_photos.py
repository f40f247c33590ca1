"""Photos from a seed look like photos to everything that stores them."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

from ops.sample.photos import PhotoContent, photo_bytes, photo_contents, write_photo

if TYPE_CHECKING:
    from pathlib import Path


def _contents(photos: int = 400, total: int = 1_000_000_000) -> list[PhotoContent]:
    return list(photo_contents(random.Random(5), photos=photos, photo_bytes_total=total))


def test_sizes_add_up_to_the_total() -> None:
    """To the byte, twins and all."""
    assert sum(content.size_bytes for content in _contents()) == 1_000_000_000


def test_a_photo_has_its_size_and_a_jpegs_ends() -> None:
    """And no marker in between."""
    contents = photo_bytes(PhotoContent(seed=1, size_bytes=50_000))

    assert len(contents) == 50_000
    assert contents.startswith(b"\xff\xd8\xff\xe0")
    assert contents.endswith(b"\xff\xd9")
    assert b"\xff" not in contents[20:-2]


def test_a_photo_does_not_compress() -> None:
    """Like a real one."""
    contents = photo_bytes(PhotoContent(seed=1, size_bytes=50_000))

    assert len(zlib.compress(contents)) > 0.99 * len(contents)


def test_some_photos_are_twins_and_some_are_retouched() -> None:
    """Deduplication finds whole files and stretches of files."""
    contents = _contents()

    assert len(set(contents)) < len(contents)
    assert any(content.retouch is not None for content in contents)


def test_a_retouched_photo_shares_all_but_one_stretch() -> None:
    """Both ends are the original's."""
    original = photo_bytes(PhotoContent(seed=1, size_bytes=500_000))
    retouched = photo_bytes(PhotoContent(seed=1, size_bytes=500_000, retouch=200_000))

    differing = [place for place in range(500_000) if original[place] != retouched[place]]
    assert differing
    assert differing[-1] - differing[0] < 40_000


def test_a_photo_appears_whole(tmp_path: Path) -> None:
    """No unfinished file stays beside it."""
    write_photo(tmp_path / "weddings" / "w" / "a.jpg", b"whole")

    assert [path.name for path in (tmp_path / "weddings" / "w").iterdir()] == ["a.jpg"]
    assert (tmp_path / "weddings" / "w" / "a.jpg").read_bytes() == b"whole"
