"""What packs say of objects: versions announced in log frames, versions protected by manifests.

An announced version is owed until a manifest is found whose every chunk lies in a pack; what the lost
catalog knew as lost becomes owed once more, and is found lost again when its bytes are fetched.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from connectors.storage import ObjectAction, ObjectNotice, decode_notice, encode_notice
from schemas import codec
from schemas.backup import SERVICE_LEVELS, PlacementClass, Priority, Residency
from schemas.pack import SALT_BYTES, decode_log_entries
from schemas.topics import priority_of_topic
from sinks import catalog_statements, gap_rows
from sinks.packer import decode_changes
from sinks.protect import object_name
from sinks.receipts import BlobReceipt, Claim, ObjectState
from sinks.seal import seal_note
from sinks.window import gaps_filed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import sqlalchemy as sa

    from connectors.ledger import Gap
    from sinks.rebuild_keys import KeyFinder
    from sinks.rebuild_scan import PackScanner, ScannedPack


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FoundManifest:
    """A manifest and the chunks it needs; `claim` stands in where its announcement is lost."""

    claim: Claim
    pack_hash: bytes
    number: int
    created_us: int
    chunks: tuple[bytes, ...]


class ObjectScan:
    """Reads objects out of packs; `locked` are weddings whose key is gone."""

    def __init__(self, *, scanner: PackScanner, keys: KeyFinder, randomness: Callable[[int], bytes]) -> None:
        self._scanner, self._keys, self._randomness = scanner, keys, randomness
        self.manifests: list[FoundManifest] = []
        self.locked: set[str] = set()
        self.gaps: list[Gap] = []

    async def announced(self, scanned: ScannedPack) -> tuple[Claim, ...]:
        """Return the versions that a log pack announces.

        Raises:
            CorruptionError: a frame does not open although the pack is whole.
        """
        claims: list[Claim] = []
        for number, frame in enumerate(scanned.index["frames"]):
            plain = await self._scanner.frame(scanned, number)
            if plain is None:
                self.locked.add(frame["wedding"])
                continue
            changes = decode_changes(decode_log_entries(plain))
            self.gaps += gaps_filed(changes)
            puts = [each for each in changes if each["kind"] == "object_put"]
            claims += [await self._claim(each, scanned.index["topic"]) for each in puts]
        return tuple(claims)

    async def read_manifests(self, scanned: ScannedPack) -> None:
        """Remember the manifests of a blob pack."""
        for number, frame in enumerate(scanned.index["frames"]):
            if frame["kind"] != "manifest":
                # Only asked for, so that every wedding's key is catalogued.
                await self._keys.key(frame["wedding"])
                continue
            plain = await self._scanner.frame(scanned, number)
            if plain is None:
                self.locked.add(frame["wedding"])
                continue
            manifest = codec.decode("BlobManifest", plain)
            self.manifests.append(
                FoundManifest(
                    claim=await self._claim_of_manifest(manifest, scanned),
                    pack_hash=scanned.about.pack_hash,
                    number=number,
                    created_us=scanned.index["created_at"],
                    chunks=tuple(each["chunk"] for each in manifest["chunks"]),
                )
            )

    def write(self, connection: sa.Connection) -> int:
        """Protect every version whose chunks are all there, and return how many manifests lack one; file the gaps."""
        gap_rows.add(connection, self.gaps)
        unsound = 0
        best: dict[tuple[str, bytes], FoundManifest] = {}
        for each in sorted(self.manifests, key=lambda each: (each.created_us, each.pack_hash, each.number)):
            wedding, wanted = each.claim.wedding, list(dict.fromkeys(each.chunks))
            if catalog_statements.has_chunks(connection, wedding, wanted) < set(wanted):
                unsound += 1
            else:
                best.setdefault((wedding, each.claim.name), each)
        for each in best.values():
            _protect(connection, each)
        return unsound

    async def _claim(self, change: Mapping[str, Any], topic: str) -> Claim:
        key, lane = await self._keys.key(change["wedding"]), priority_of_topic(topic)
        assert key is not None, "its frame has just been opened"
        notice = decode_notice(change["payload"])
        return Claim(
            name=object_name(key, change["source"], notice.key, notice.version),
            wedding=change["wedding"],
            source=change["source"],
            epoch=change["epoch"],
            position=change["position"],
            placement=Residency(change["residency"]).placement_class,
            copies=SERVICE_LEVELS[lane].copies,
            modified_us=notice.modified_us,
            size_bytes=notice.size,
            state=ObjectState.CLAIMED,
            sealed=seal_note(key, change["payload"], salt=self._randomness(SALT_BYTES)),
            lane=lane.value,
        )

    async def _claim_of_manifest(self, manifest: Mapping[str, Any], scanned: ScannedPack) -> Claim:
        key = await self._keys.key(manifest["wedding"])
        assert key is not None, "its frame has just been opened"
        notice = ObjectNotice(
            action=ObjectAction.PUT,
            bucket="",
            key=manifest["key"],
            version=manifest["version"],
            size=manifest["size"],
            modified_us=manifest["modified_at"],
            noticed_us=manifest["modified_at"],
        )
        return Claim(
            name=object_name(key, manifest["source"], notice.key, notice.version),
            wedding=manifest["wedding"],
            source=manifest["source"],
            epoch=manifest["epoch"],
            position=manifest["position"],
            placement=PlacementClass(scanned.index["placement"]),
            copies=scanned.index["copies"],
            modified_us=notice.modified_us,
            size_bytes=notice.size,
            state=ObjectState.CLAIMED,
            sealed=seal_note(key, encode_notice(notice), salt=self._randomness(SALT_BYTES)),
            lane=Priority.STANDARD.value,
        )


def _protect(connection: sa.Connection, found: FoundManifest) -> None:
    claim = found.claim
    catalog_statements.add_claim(connection, claim)
    catalog_statements.commit_blobs(
        connection,
        [],
        [
            BlobReceipt(
                wedding=claim.wedding, name=claim.name, manifest_pack=found.pack_hash, manifest_frame=found.number
            )
        ],
        found.created_us,
    )
    # Chunks are shared: a pack owes as many copies as the most precious object that needs it.
    catalog_statements.raise_copies(connection, claim.wedding, list(found.chunks), claim.copies)
