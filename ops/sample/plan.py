"""The script of a load: an endless-looking but seeded stream of transactions and photos. Pure.

The same seed and instant give the same script, whatever the machine does; only weddings put into `left_alone`
while it is read change it. Planning knows every row it has written, so no statement ever misses.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import itertools
import random
from typing import TYPE_CHECKING, Final

import orjson

from ops.sample import cast, photos, scenes, shapes
from ops.sample import statements as say
from ops.sample.statements import Statement, Transaction
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from ops.sample.cast import SampleWedding
    from ops.sample.shapes import Shape

TRANSACTION_CHANGES_MAX: Final = 20
TRANSACTION_CHANGES_MEAN: Final = 6
LARGEST_SCENE_CHANGES: Final = 6  # three guests, each with a dietary need
LAST_SCENE_STARTS_BEFORE: Final = TRANSACTION_CHANGES_MAX - LARGEST_SCENE_CHANGES + 1
OPENING_CHANGES_MAX: Final = TRANSACTION_CHANGES_MAX
DRAWS_BEFORE_LOOKING: Final = 32
ROLLBACK_SHARE: Final = 0.02
MISFILED_SHARE: Final = 0.003
VENDOR_SHARE: Final = 0.01
CHANGE_SPACING: Final = dt.timedelta(microseconds=1_903)
PLATFORM_LANE: Final = 0
SCENES_AND_WEIGHTS: Final = tuple(zip(*scenes.SCENES, strict=True))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A photo to write under `object_key`, then its row: `row` lacks size and checksum, known once written."""

    wedding: str
    lane: int
    object_key: str
    photo_id: str
    content: photos.PhotoContent
    taken_at: dt.datetime
    exif: str

    def statement(self, checksum: bytes) -> Statement:
        """Return the statement that records the written photo."""
        row = (self.photo_id, self.wedding, self.object_key, self.content.size_bytes, checksum)
        return Statement(sql=say.PHOTO_ADDED, parameters=(*row, self.taken_at, self.exif))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is asked for: how many committed row changes (photo rows among them), weddings and photos, and how."""

    changes: int
    weddings: int
    photos: int
    photo_bytes_total: int
    shape: Shape
    seed: int
    now: dt.datetime
    lanes: int


class Planner:
    """Writes the script; `cast` is known before the first operation is planned."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._rng = random.Random(script.seed)  # noqa: S311 - a script, not a secret
        self._now = script.now
        self.cast = cast.make_cast(self._rng, weddings=script.weddings, now=script.now)
        self._lane_of = {wedding.id: index % script.lanes for index, wedding in enumerate(self.cast.weddings)}
        self._states: dict[str, scenes.WeddingState] = {}
        self._opened = 0
        self._weights = list(itertools.accumulate(shapes.weights(script.shape, self.cast.weddings)))
        _check(script, platform_rows=len(self.cast.platform_rows))

    def platform(self) -> Iterator[Transaction]:
        """Yield the transactions that write venues and vendors: they commit before anything else starts."""
        for rows in _batches(self.cast.platform_rows, TRANSACTION_CHANGES_MAX):
            yield Transaction(weddings=(), lane=PLATFORM_LANE, statements=rows)

    def openings(self, left_alone: Container[str]) -> Iterator[Transaction]:
        """Yield, for each wedding, the transaction in which it enters the calendar; they come before `plan`."""
        for wedding in self.cast.weddings:
            if wedding.id not in left_alone:
                yield (opening := self._opening(wedding))
                self._opened += opening.changes

    def plan(self, left_alone: Container[str]) -> Iterator[Transaction | Upload]:
        """Yield operations until `changes` row changes are planned to commit, openings and all photos among them.

        `left_alone` is asked anew for each operation: a wedding in it gets nothing more. When all are in it, it ends.
        """
        budget = self._script.changes - self._script.photos - len(self.cast.platform_rows) - self._opened
        uploads, uploaded, played = self._uploads(left_alone), 0, 0
        while played < budget and (transaction := self._transaction(budget - played, left_alone)) is not None:
            yield transaction
            played += transaction.changes
            due = self._script.photos * played // budget - uploaded
            uploaded += due
            yield from itertools.islice(uploads, due)
        yield from uploads

    def _opening(self, wedding: SampleWedding) -> Transaction:
        """A wedding enters the calendar together with its first rows."""
        stage = self._stage(wedding, self._states.setdefault(wedding.id, scenes.WeddingState()))
        rows = [cast.wedding_row(self._rng, wedding, self._now)]
        for scene in scenes.OPENING:
            rows.extend(scene(stage))
        return Transaction(weddings=(wedding.id,), lane=self._lane_of[wedding.id], statements=tuple(rows))

    def _transaction(self, changes_max: int, left_alone: Container[str]) -> Transaction | None:
        wedding = self._some_wedding(left_alone)
        chance = self._rng.random()
        if wedding is None:
            return None
        if chance < VENDOR_SHARE:
            return self._vendor_rated()
        if chance < VENDOR_SHARE + MISFILED_SHARE:
            return self._misfiled(wedding, left_alone) or self._played(wedding, changes_max)
        return self._played(wedding, changes_max)

    def _played(self, wedding: SampleWedding, changes_max: int) -> Transaction:
        """One to twenty changes of one wedding; what is rolled back is planned on a copy of its rows."""
        rolls_back = self._rng.random() < ROLLBACK_SHARE
        state = self._states[wedding.id]
        stage = self._stage(wedding, copy.deepcopy(state) if rolls_back else state)
        size = min(1 + int(self._rng.expovariate(1 / TRANSACTION_CHANGES_MEAN)), LAST_SCENE_STARTS_BEFORE)
        rows: list[Statement] = []
        while len(rows) < size:
            rows.extend(self._rng.choices(*SCENES_AND_WEIGHTS)[0](stage))
        return Transaction(
            weddings=(wedding.id,),
            lane=self._lane_of[wedding.id],
            statements=tuple(rows[:changes_max]),
            rolls_back=rolls_back,
        )

    def _vendor_rated(self) -> Transaction:
        rating = (f"{self._rng.randrange(100, 501) / 100:.2f}", True, self._rng.choice(self.cast.vendors))
        rated = Statement(sql=say.VENDOR_RATED, parameters=rating)
        return Transaction(weddings=(), lane=PLATFORM_LANE, statements=(rated,))

    def _misfiled(self, wedding: SampleWedding, left_alone: Container[str]) -> Transaction | None:
        """A message stood under the wrong wedding and moves to another one, of the same lane so that order holds."""
        lane, messages = self._lane_of[wedding.id], self._states[wedding.id].messages
        others = [
            name
            for name in self._states
            if name != wedding.id and self._lane_of[name] == lane and name not in left_alone
        ]
        if not others or not messages:
            return None
        other = self._rng.choice(others)
        self._states[other].messages.append(messages.pop())
        moved = Statement(sql=say.MESSAGE_MISFILED, parameters=(other, self._states[other].messages[-1]))
        return Transaction(weddings=(wedding.id, other), lane=lane, statements=(moved,))

    def _uploads(self, left_alone: Container[str]) -> Iterator[Upload]:
        contents = photos.photo_contents(
            self._rng_of("photos"), photos=self._script.photos, photo_bytes_total=self._script.photo_bytes_total
        )
        wedding: SampleWedding | None = None
        for index, content in enumerate(contents):
            if wedding is None or index % photos.ALBUM_PHOTOS == 0 or wedding.id in left_alone:
                wedding = self._some_wedding(left_alone)
            if wedding is None:
                return
            yield self._upload(wedding, index, content)

    def _upload(self, wedding: SampleWedding, index: int, content: photos.PhotoContent) -> Upload:
        exif = {
            "camera": "Exakta Varex",
            "iso": self._rng.choice((100, 400)),
            "f": 1.8,
            "edited": bool(content.retouch),
        }
        return Upload(
            wedding=wedding.id,
            lane=self._lane_of[wedding.id],
            object_key=f"weddings/{wedding.id}/img_{index:06d}.jpg",
            photo_id=cast.seeded_uuid(self._rng),
            content=content,
            taken_at=self._now - dt.timedelta(seconds=self._rng.randrange(3_600)),
            exif=orjson.dumps(exif).decode(),
        )

    def _some_wedding(self, left_alone: Container[str]) -> SampleWedding | None:
        for _ in range(DRAWS_BEFORE_LOOKING):
            drawn = self._rng.choices(self.cast.weddings, cum_weights=self._weights)[0]
            if drawn.id in self._states and drawn.id not in left_alone:
                return drawn
        free = [each for each in self.cast.weddings if each.id in self._states and each.id not in left_alone]
        return self._rng.choice(free) if free else None

    def _stage(self, wedding: SampleWedding, state: scenes.WeddingState) -> scenes.Stage:
        self._now += CHANGE_SPACING
        return scenes.Stage(rng=self._rng, now=self._now, wedding=wedding, state=state, vendors=self.cast.vendors)

    def _rng_of(self, purpose: str) -> random.Random:
        """Chance of its own, so that photos do not change with what happens between them."""
        return random.Random(f"{self._script.seed}/{purpose}")  # noqa: S311 - as above


def _check(script: Script, *, platform_rows: int) -> None:
    needed = platform_rows + script.photos + script.weddings * OPENING_CHANGES_MAX
    if script.weddings < 1 or script.lanes < 1 or script.changes < needed:
        raise ConfigError(
            f"changes = {script.changes} is too few for {script.weddings} weddings and {script.photos} photos",
            hint=f"ask for at least {needed} changes, or for fewer weddings",
        )


def _batches(rows: tuple[Statement, ...], size: int) -> Iterator[tuple[Statement, ...]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
