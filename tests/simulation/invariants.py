"""The invariants, checked from outside: against the log, the platform's model and the stores' bytes.

I1 nothing acknowledged is lost, I2 nothing is invented, I3 three verified copies, I4 offsets and
chains, I5 objects are equal, I8 nothing twice, I10 no plaintext, I14 no worker dies of our mistakes,
I16 residency; P a promotion leaves nothing behind; F the frontier claims nothing that is not on its
topic; D dead letters are complete.
Restored states (I5 for rows) are in `restores`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import blake3

from schemas import codec, pack
from schemas.backup import COPIES_PROTECTED, UNREAD
from schemas.errors import FormatError, RefusedError, TransientError
from schemas.topics import BACKUP_TOPICS, DEAD_LETTERS
from sinks.keyring import keyring_prefix
from sinks.receipts import ObjectState
from streams.dead_letters import Letters
from tests.builders import CAPTURE, OBJECTS, TOPIC_IDS
from tests.simulation.archive import DOMAIN_OF, EU_STORES, Archive, ViolationError

if TYPE_CHECKING:
    from tests.simulation.worlds import World

Identity = tuple[str, int, str]
"""Topic of capture, position, wedding."""

_SOURCES = {"platform": CAPTURE, "objects": OBJECTS}


def identity(change: dict[str, Any]) -> Identity:
    """Return what makes a change the same however often it was routed."""
    return _SOURCES[change["source"]], change["position"], change["wedding"]


class Watch:
    """Looks at one world again and again; marks may only rise."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.archive = Archive(world)
        self._marks: dict[tuple[str, int], int] = {}

    async def look(self) -> None:
        """Check what must hold at every instant."""
        self._check_failures()
        self._check_copies()
        self._check_marks()
        await self._check_chains()
        await self._check_nothing_acknowledged_is_lost()
        await self._check_promotions()

    async def look_at_the_end(self) -> None:
        """Check what must hold once everything has come to rest."""
        await self.look()
        self._check_frontiers()
        self._check_dead_letters()
        await self._check_archive_is_the_log()
        await self._check_objects()
        await self._check_residency()
        self._check_secrecy()

    def _check_failures(self) -> None:
        for failure in self.world.failures:
            if not isinstance(failure, TransientError | RefusedError):
                raise ViolationError(f"I14: a worker ended by {failure!r}") from failure

    def _check_copies(self) -> None:
        holders = self.archive.holders()
        for row in self.archive.packs():
            stores = holders.get(row.pack_hash, [])
            if len({DOMAIN_OF[store] for store in stores}) < COPIES_PROTECTED:
                raise ViolationError(f"I3: {row.name} is called protected on {stores}")
            for store in stores:
                content = self.world.held[store].objects.get(row.name)
                if content is None or blake3.blake3(content).digest() != row.pack_hash:
                    raise ViolationError(f"I3: {store} does not hold {row.name}, though it was verified there")
        self._check_keys()

    def _check_keys(self) -> None:
        for row in self.archive.key_rows():
            stores = [name for name, held in self.world.held.items() if row.object_name in held.objects]
            whole = [name for name in stores if self._is_whole_key(name, row.object_name)]
            if row.is_stored and len({DOMAIN_OF[store] for store in whole}) < COPIES_PROTECTED:
                raise ViolationError(f"I3: the key of {row.wedding} is called stored on {whole}")

    def _is_whole_key(self, store: str, name: str) -> bool:
        return name.endswith(blake3.blake3(self.world.held[store].objects[name]).hexdigest())

    def _check_marks(self) -> None:
        for row in self.archive.partitions():
            where = (row.topic, row.partition)
            if row.next_offset < self._marks.get(where, 0):
                raise ViolationError(f"I4: the mark of {where} fell to {row.next_offset}")
            if row.next_offset > len(self.world.log.partitions[where]):
                raise ViolationError(f"I4: the mark of {where} lies beyond the log")
            self._marks[where] = row.next_offset

    async def _check_chains(self) -> None:
        windows: dict[tuple[str, int], dict[tuple[int, int], list[Any]]] = {}
        for row in self.archive.packs():
            if row.kind == "log":
                partition = windows.setdefault((row.topic_id, row.partition), {})
                partition.setdefault((row.first, row.last), []).append(row)
        opened = dict(await self._opened())
        for row in self.archive.partitions():
            self._check_chain(row, windows.pop((row.topic_id, row.partition), {}), opened)
        if windows:
            raise ViolationError(f"I4: packs of partitions that never moved: {list(windows)}")

    async def _opened(self) -> list[tuple[bytes, Any]]:
        rows = self.archive.packs()
        return list(zip((row.pack_hash for row in rows), await self.archive.protected(), strict=True))

    def _check_chain(self, mark: Any, windows: dict[tuple[int, int], list[Any]], opened: dict[bytes, Any]) -> None:
        head, end = pack.NO_PREVIOUS, 0
        for (first, last), rows in sorted(windows.items()):
            if first < end or last < first:
                raise ViolationError(f"I4: {mark.topic} {mark.partition}: a window begins at {first}, before {end}")
            parts = sorted((opened[row.pack_hash] for row in rows), key=lambda each: each.index["window_part"])
            if len(parts) != parts[0].index["window_parts"]:
                raise ViolationError(f"I4: {mark.topic} {mark.partition}: a part of window {first}-{last} is missing")
            if any(each.footer.previous != head for each in parts):
                raise ViolationError(f"I4: {mark.topic} {mark.partition}: the chain is broken at {first}")
            by_part = sorted(rows, key=lambda row: opened[row.pack_hash].index["window_part"])
            head, end = pack.chain_head(head, [row.pack_hash for row in by_part]), last + 1
        if (head, end <= mark.next_offset) != (mark.head, True):
            raise ViolationError(f"I4: {mark.topic} {mark.partition}: the head is not the chain's end")

    async def _check_nothing_acknowledged_is_lost(self) -> None:
        """Check that what lies below a watermark is in the archive, or still to be read somewhere."""
        marks = {(row.topic, row.partition): row.next_offset for row in self.archive.partitions()}
        acknowledged: set[Identity] = set()
        elsewhere = {identity(change) for each in await self.archive.protected() for change in each.changes}
        for where, records in self.world.log.partitions.items():
            if where[0] not in BACKUP_TOPICS:
                continue
            for record in records:
                change = _change(record.value)
                if change is not None:
                    is_below = record.offset < marks.get(where, 0)
                    (acknowledged if is_below else elsewhere).add(identity(change))
        if lost := acknowledged - elsewhere:
            raise ViolationError(f"I1: acknowledged, but not in the archive: {sorted(lost)[:5]}")

    async def _check_promotions(self) -> None:
        """Check that a finished promotion left nothing of its wedding waiting in the slower lane."""
        log = self.world.log
        found = {identity(change) for each in await self.archive.protected() for change in each.changes}
        for row in self.archive.promotions():
            if row.done_us is None:
                continue
            new_lane = {identity(change) for change in map(_change, self._values(row.topic, row.partition)) if change}
            decided = log.order[row.topic, row.partition, row.offset]
            for record in log.partitions[row.slow_topic, row.partition]:
                change = _change(record.value)
                is_before = log.order[row.slow_topic, row.partition, record.offset] < decided
                if change is None or not is_before or change["wedding"] != row.wedding:
                    continue
                if identity(change) not in found | new_lane:
                    raise ViolationError(f"P: promoted, but still waiting in {row.slow_topic}: {identity(change)}")

    def _values(self, topic: str, partition: int) -> list[bytes | None]:
        return [record.value for record in self.world.log.partitions[topic, partition]]

    async def _check_archive_is_the_log(self) -> None:
        """Check the archive against what the platform did: nothing lost, nothing invented, each payload equal."""
        expected = self._expected()
        found: dict[Identity, dict[str, Any]] = {}
        places: set[tuple[str, int, int]] = set()
        letters = Letters(keep=lambda _: True)
        for opened in await self.archive.protected():
            for change in opened.changes:
                place = (opened.index["topic"], opened.index["partition"], change["offset"])
                if place in places:
                    raise ViolationError(f"I8: the record at {place} was protected twice")
                places.add(place)
                if change["wedding"] == UNREAD:
                    letters.take(change)
                    continue
                self._check_change(change, expected)
                found[identity(change)] = change
        if missing := expected.keys() - found.keys():
            raise ViolationError(f"I1: never protected: {sorted(missing)[:5]}")
        if resolved := [each for each in letters.all() if each.outcome not in {"", "repeated"}]:
            raise ViolationError(f"D: {len(resolved)} dead letters count as resolved, though nothing was mended")
        archived = {each.about["offset"]: each.about["value"] for each in letters.all()}
        if archived != self.world.connect.dead_letters:
            raise ViolationError(
                f"D: {len(archived)} dead letters archived, not {len(self.world.connect.dead_letters)}"
            )

    def _check_change(self, change: dict[str, Any], expected: dict[Identity, tuple[bytes, set[str]]]) -> None:
        name = identity(change)
        if name not in expected:
            raise ViolationError(f"I2: protected, though it never happened: {name} {change['payload'][:300]!r}")
        payload, residencies = expected[name]
        if change["payload"] != payload:
            raise ViolationError(f"I2: {name} holds another payload")
        if change["residency"] not in residencies:
            raise ViolationError(f"I16: {name} is called {change['residency']}, not {residencies}")

    def _expected(self) -> dict[Identity, tuple[bytes, set[str]]]:
        expected: dict[Identity, tuple[bytes, set[str]]] = {}
        positions = self.world.connect.positions
        for index, entry in enumerate(self.world.platform.log):
            for wedding, residency in entry.seals:
                key = (CAPTURE, positions[index], wedding)
                expected.setdefault(key, (entry.value, set()))[1].add(residency)
        for offset, (_, wedding) in self.world.folder.announced.items():
            value = self.world.log.partitions[OBJECTS, 0][offset].value
            assert value is not None
            expected[OBJECTS, offset, wedding] = (value, {"unknown", self.world.platform.residency(wedding)})
        return expected

    def _check_frontiers(self) -> None:
        """Check that each frontier came after everything it claims."""
        delivered, frontiers = self._delivered_and_announced()
        for at, topic, frontier_position in frontiers:
            for (source, position, wedding), delivered_at in delivered.items():
                if source == topic and position <= frontier_position and delivered_at > at:
                    raise ViolationError(
                        f"F: a frontier at {frontier_position} came before {position} of {topic} for {wedding}"
                    )

    def _delivered_and_announced(self) -> tuple[dict[Identity, int], list[tuple[int, str, int]]]:
        """Return when each change was first on a backup topic, and each frontier as (when, source, position).

        What is sealed again counts under quarantine, where it has been delivered before.
        """
        delivered: dict[Identity, int] = {}
        frontiers: list[tuple[int, str, int]] = []
        for (topic, number, offset), at in self.world.log.order.items():
            if topic not in BACKUP_TOPICS:
                continue
            value = self.world.log.partitions[topic, number][offset].value
            assert value is not None
            if codec.name_of(value) == "Promotion":
                continue
            if codec.name_of(value) == "Frontier":
                frontier = codec.decode("Frontier", value)
                frontiers.append((at, _SOURCES[frontier["source"]], frontier["position"]))
                continue
            change = codec.decode("BackupChange", value)
            if not change["again"]:
                delivered.setdefault(identity(change), at)
        return delivered, frontiers

    def _check_dead_letters(self) -> None:
        found = {}
        for record in self.world.log.partitions[DEAD_LETTERS, 0]:
            headers = dict(record.headers)
            if headers["wedsync.topic"] == CAPTURE.encode() and headers["wedsync.reason"]:
                found[int(headers["wedsync.offset"])] = record.value
        if found != self.world.connect.dead_letters:
            raise ViolationError(f"D: {len(found)} dead letters, not {len(self.world.connect.dead_letters)}")

    async def _check_objects(self) -> None:
        """Check that each announced version is protected with its bytes, or lost only because it was replaced."""
        wanted = {
            (wedding, notice.key, notice.version): notice
            for notice, wedding in self.world.folder.announced.values()
            if notice.action.value == "put"
        }
        rows = self.archive.objects()
        if len(rows) != len(wanted):
            raise ViolationError(f"I1: {len(rows)} object versions are known, not {len(wanted)}")
        contents = sorted(
            [await self.archive.object_bytes(row) for row in rows if row.state == ObjectState.PROTECTED.value]
        )
        lost = sum(row.state == ObjectState.LOST.value for row in rows)
        versions = self.world.folder.versions
        current = {(each.key, each.version) for each in self.world.folder.current.values()}
        must = [versions[key, version].content for _, key, version in wanted if (key, version) in current]
        may = [versions[key, version].content for _, key, version in wanted]
        if len(contents) + lost != len(wanted) or not _is_within(must, contents) or not _is_within(contents, may):
            raise ViolationError(f"I5: {len(contents)} objects protected and {lost} lost of {len(wanted)}")

    async def _check_residency(self) -> None:
        """Check every byte outside the EU, orphans included, and every key."""
        free = {wedding for wedding in self.world.platform.known_weddings() if self._is_free(wedding)}
        allowed_keys = tuple(keyring_prefix(wedding) for wedding in sorted(free))
        for store in sorted(self.world.held.keys() - EU_STORES):
            for name, content in self.world.held[store].objects.items():
                if name.startswith("keyring/"):
                    if not name.startswith(allowed_keys):
                        raise ViolationError(f"I16: {store} holds a key it must not: {name}")
                    continue
                await self._check_pack_abroad(store, content)

    def _is_free(self, wedding: str) -> bool:
        return wedding == "@index-anywhere" or self.world.platform.residency(wedding) == "anywhere"

    async def _check_pack_abroad(self, store: str, content: bytes) -> None:
        try:
            pack.check_body(content)
        except Exception:  # noqa: BLE001 - damaged on its way, and found out: nobody counts it
            return
        opened = await self.archive.open(content)
        names = {frame["wedding"] for frame in opened.index["frames"]}
        if opened.index["placement"] != "anywhere" or not all(self._is_free(name) for name in names):
            raise ViolationError(f"I16: {store} holds a pack of {names}")

    def _check_secrecy(self) -> None:
        salts: dict[bytes, str] = {}
        for store, held in self.world.held.items():
            for name, content in held.objects.items():
                if b"CANARY" in content or "CANARY" in name:
                    raise ViolationError(f"I10: {store} holds plaintext in {name}")
                if name.endswith(".pack") and name.endswith(f"{blake3.blake3(content).hexdigest()}.pack"):
                    salt = content[16:48]
                    if salts.setdefault(salt, name) != name:
                        raise ViolationError(f"I10: {name} and {salts[salt]} share a salt")


def _is_within(some: list[bytes], more: list[bytes]) -> bool:
    left = list(more)
    for each in some:
        if each not in left:
            return False
        left.remove(each)
    return True


def _change(value: bytes | None) -> dict[str, Any] | None:
    try:
        return codec.decode("BackupChange", value or b"")
    except FormatError:
        return None


assert set(TOPIC_IDS) == set(BACKUP_TOPICS)
