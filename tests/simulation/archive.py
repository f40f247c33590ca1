"""What the stores and the catalog really hold, read without any of the product's restore code."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import blake3

from schemas import codec, pack
from schemas.backup import PlacementClass
from schemas.errors import CorruptionError
from sinks.catalog_tables import COPIES, KEYS, OBJECTS, PACKS, PARTITIONS, PROMOTIONS
from sinks.key_wrapping import MasterKeyWrapper
from sinks.packer import INDEX_KEYS, decode_changes, open_frame, open_index
from tests.simulation.worlds import MASTER_KEY, SITES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from tests.simulation.worlds import World


class ViolationError(AssertionError):
    """An invariant does not hold; the message begins with its name."""


DOMAIN_OF = {site.name: site.domain for site in SITES}
EU_STORES = frozenset(site.name for site in SITES if site.is_eu)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenedPack:
    """A pack, decrypted: log changes and blob frames with their plaintext."""

    index: dict[str, Any]
    footer: pack.Footer
    salt: bytes
    changes: list[dict[str, Any]]
    frames: list[tuple[dict[str, Any], bytes]]


class Archive:
    """Reads packs once; the keys come from the keyring objects on the stores."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wrapper = MasterKeyWrapper(MASTER_KEY)
        self._opened: dict[bytes, OpenedPack] = {}
        self._keys: dict[str, bytes] = {}

    def rows(self, table: sa.Table) -> Sequence[Any]:
        """Return a table of the catalog as it is committed now."""
        with self._world.engine.connect() as connection:
            return connection.exec_driver_sql(f"SELECT * FROM {table.name}").all()

    def holders(self) -> dict[bytes, list[str]]:
        """Return by pack the stores that the catalog says hold it."""
        found: dict[bytes, list[str]] = {}
        for row in self.rows(COPIES):
            found.setdefault(row.pack_hash, []).append(row.store)
        return found

    def packs(self) -> Sequence[Any]:
        """Return the catalog's packs."""
        return self.rows(PACKS)

    def partitions(self) -> Sequence[Any]:
        """Return the catalog's partitions."""
        return self.rows(PARTITIONS)

    def objects(self) -> Sequence[Any]:
        """Return the catalog's objects."""
        return self.rows(OBJECTS)

    def promotions(self) -> Sequence[Any]:
        """Return the catalog's promotions."""
        return self.rows(PROMOTIONS)

    def key_rows(self) -> Sequence[Any]:
        """Return the catalog's keys."""
        return self.rows(KEYS)

    async def key(self, wedding: str) -> bytes:
        """Return a wedding's data key as a restore would find it."""
        if wedding not in self._keys:
            name = next((str(row.object_name) for row in self.key_rows() if row.wedding == wedding), "nowhere")
            copies = [each.objects[name] for each in self._world.held.values() if name in each.objects]
            held = next((copy for copy in copies if name.endswith(blake3.blake3(copy).hexdigest())), None)
            if held is None:
                raise ViolationError(f"I1: the key of {wedding} is nowhere")
            self._keys[wedding] = await self._wrapper.unwrap(held, context=wedding.encode())
        return self._keys[wedding]

    async def open(self, content: bytes) -> OpenedPack:
        """Return a pack's content, decrypted."""
        pack_hash = blake3.blake3(content).digest()
        if pack_hash not in self._opened:
            self._opened[pack_hash] = await self._open(content)
        return self._opened[pack_hash]

    async def _open(self, content: bytes) -> OpenedPack:
        footer = pack.check_body(content)
        _, salt = pack.decode_header(content)
        index = await self._open_index(content, footer, salt)
        changes: list[dict[str, Any]] = []
        frames: list[tuple[dict[str, Any], bytes]] = []
        for number, frame in enumerate(index["frames"]):
            sealed = content[frame["offset"] : frame["offset"] + frame["length"]]
            key = await self.key(frame["wedding"])
            try:
                plain = open_frame(sealed, salt=salt, number=number, kind=frame["kind"], data_key=key)
            except CorruptionError as error:
                raise ViolationError(f"I9: a frame of {frame['wedding']} does not open: {error}") from error
            if frame["kind"] == "log":
                changes.extend(decode_changes(pack.decode_log_entries(plain)))
            else:
                frames.append((frame, plain))
        return OpenedPack(index=index, footer=footer, salt=salt, changes=changes, frames=frames)

    async def _open_index(self, content: bytes, footer: pack.Footer, salt: bytes) -> dict[str, Any]:
        tail = content[footer.index_offset :]
        errors = []
        for placement in PlacementClass:
            name = INDEX_KEYS[placement]
            if name not in {row.wedding for row in self.key_rows()}:
                continue
            try:
                return open_index(tail, footer, salt=salt, index_key=await self.key(name))
            except Exception as error:  # noqa: BLE001 - the other class's key may open it
                errors.append(error)
        raise ViolationError(f"I9: no index key opens a pack: {errors}")

    async def protected(self) -> list[OpenedPack]:
        """Return all packs of the catalog, from whichever named copy is there."""
        holders = self.holders()
        return [await self.open(self._content(row, holders.get(row.pack_hash, []))) for row in self.packs()]

    def _content(self, row: Any, stores: list[str]) -> bytes:
        for store in stores:
            content = self._world.held[store].objects.get(row.name, b"")
            if blake3.blake3(content).digest() == row.pack_hash:
                return content
        raise ViolationError(f"I3: {row.name} is on none of {stores}")

    async def object_bytes(self, row: Any) -> bytes:
        """Return the bytes of a protected object version, from its manifest's chunks."""
        chunks: dict[bytes, bytes] = {}
        manifest: dict[str, Any] | None = None
        for opened in await self.protected():
            for frame, plain in opened.frames:
                if frame["wedding"] != row.wedding:
                    continue
                if frame["kind"] == "chunk":
                    chunks[frame["chunk"]] = plain
                elif frame["chunk"] == row.name:
                    manifest = codec.decode("BlobManifest", plain)
        if manifest is None:
            raise ViolationError(f"I1: object {row.name.hex()} has no manifest")
        content = b"".join(chunks[each["chunk"]] for each in manifest["chunks"])
        if blake3.blake3(content).digest() != manifest["checksum"]:
            raise ViolationError(f"I5: object {row.name.hex()} is not what its manifest says")
        return content
