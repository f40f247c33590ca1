"""Replay: which rows and objects exist at a cut, whatever the order and number in which changes arrive."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from connectors.debezium import UNAVAILABLE
from connectors.storage import ObjectAction, encode_notice
from sinks.cut import Cut, Order
from sinks.restore_plan import Replay, State
from sinks.state_diff import diff
from tests import builders
from tests.unit.sinks.archive import EPOCH, NOON_US, guest

if TYPE_CHECKING:
    from collections.abc import Iterable

Change = dict[str, Any]


def a_cut(position: int = 100, *, epoch: int = EPOCH, at_us: int | None = None) -> Cut:
    """Return a cut at a commit."""
    order = Order(epoch, position)
    return Cut(
        source="platform",
        order=order,
        until=Order(epoch, position + 10),
        until_us=NOON_US,
        lsn=9,
        committed_us=NOON_US,
        at_us=at_us,
    )


def a_change(position: int, payload: bytes, **fields: Any) -> Change:
    """Return a change of the wedding w1."""
    return builders.a_change(position=position, epoch=fields.pop("epoch", EPOCH), payload=payload, **fields)


def a_row(
    position: int, before: dict[str, Any] | None, after: dict[str, Any] | None, table: str = "guests", **fields: Any
) -> Change:
    """Return a row change in a transaction of its own."""
    name = f"public.{table}"
    payload = builders.a_row(name, before=before, after=after)
    return a_change(position, payload, table=name, transaction=position, **fields)


def an_end(position: int, count: int = 1, *, of: int | None = None) -> Change:
    """Return the END of the transaction at the position before."""
    transaction = of if of is not None else position - 1
    payload = builders.an_end({"public.guests": count}, transaction=transaction)
    return a_change(position, payload, kind="commit", wedding="@platform", transaction=transaction)


def a_truncate(position: int, table: str = "guests") -> Change:
    """Return a TRUNCATE."""
    payload = builders.a_row(f"public.{table}")
    return a_change(position, payload, kind="truncate", table=f"public.{table}", transaction=position)


def a_completion(position: int, table: str, *, epoch: int = EPOCH) -> Change:
    """Return that a table's copy is complete."""
    about = {"scanned_collection": f"public.{table}", "status": "SUCCEEDED"}
    payload = orjson.dumps({"aggregate_type": "Incremental Snapshot", "additional_data": about})
    return a_change(position, payload, kind="snapshot", transaction=0, epoch=epoch)


def a_photo(
    position: int, version: str, modified_us: int, *, key: str = "weddings/w1/a.jpg", sequencer: str = ""
) -> Change:
    """Return an object put, or with no version deleted."""
    action = ObjectAction.PUT if version else ObjectAction.DELETE
    notice = builders.a_notice(action=action, key=key, version=version, modified_us=modified_us, sequencer=sequencer)
    return a_change(position, encode_notice(notice), kind=f"object_{action.value}", source="objects")


def replayed(*changes: Change, cut: Cut | None = None, wedding: str | None = "w1") -> State:
    """Return the state after a replay."""
    replay = Replay(mapping=builders.a_mapping(), wedding=wedding, cut=cut or a_cut())
    replay.take(changes)
    return replay.state()


def names(state: State) -> list[str]:
    """Return the guests' names."""
    return [row["name"] for row in state.tables().get("public.guests", [])]


def test_the_newest_version_at_or_below_the_cut_counts() -> None:
    """What lies beyond is as if it had never been."""
    rows = [guest(1, name) for name in ("a", "b", "c")]
    changes = [a_row(10, None, rows[0]), a_row(20, rows[0], rows[1]), a_row(200, rows[1], rows[2])]

    assert names(replayed(*changes)) == ["b"]


def test_a_deleted_row_is_gone_and_may_come_back() -> None:
    """A row inserted again under its old key is a row."""
    row = guest(1, "a")
    gone = [a_row(10, None, row), a_row(20, row, None)]

    assert names(replayed(*gone)) == []
    assert names(replayed(*gone, a_row(30, None, guest(1, "again")))) == ["again"]


def test_a_changed_key_is_one_row_gone_and_one_come() -> None:
    """Debezium says so by two changes."""
    assert names(
        replayed(a_row(10, None, guest(1, "a")), a_row(20, guest(1, "a"), None), a_row(21, None, guest(2, "a")))
    ) == ["a"]


def test_a_truncate_ends_only_what_lies_before_it() -> None:
    """And only its own table."""
    changes = [
        a_row(10, None, guest(1, "a")),
        a_row(11, None, {"id": 1, "wedding_id": "w1", "due": None}, "tasks"),
        a_truncate(20),
        a_row(30, None, guest(2, "b")),
    ]

    assert replayed(*changes).rows.keys() == {"public.guests", "public.tasks"}
    assert names(replayed(*changes)) == ["b"]


def test_a_truncate_beyond_the_cut_ends_nothing() -> None:
    """It belongs to a later time."""
    assert names(replayed(a_row(10, None, guest(1, "a")), a_truncate(200))) == ["a"]


def test_grandchildren_live_only_with_their_whole_family() -> None:
    """A note follows a meal, which follows a guest."""
    meal, note = {"id": 5, "guest_id": 1}, {"id": 7, "meal_id": 5}
    family = [a_row(10, None, guest(1, "a")), a_row(11, None, meal, "meals"), a_row(12, None, note, "notes")]

    assert set(replayed(*family).rows) == {"public.guests", "public.meals", "public.notes"}
    assert set(replayed(*family, a_row(20, meal, None, "meals")).rows) == {"public.guests"}
    assert set(replayed(*family, a_row(20, guest(1, "a"), None)).rows) == set()


def test_a_family_that_moved_to_another_wedding_is_not_here() -> None:
    """The parent's last image says whose it is; the children follow."""
    family = [a_row(10, None, guest(1, "a")), a_row(11, None, {"id": 5, "guest_id": 1}, "meals")]

    assert not replayed(*family, a_row(20, guest(1, "a"), guest(1, "a", "w2"))).rows


def test_an_unchanged_toast_value_comes_from_the_image_before() -> None:
    """As text, as the base64 of a bytea, as the element of an array: never the placeholder itself."""
    before = {**guest(1, "a"), "bio": "long", "raw": "AP8Q", "tags": ["x"]}
    held_back = {"bio": UNAVAILABLE, "raw": "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", "tags": [UNAVAILABLE]}

    state = replayed(a_row(10, before, {**guest(1, "b"), **held_back}))

    assert state.tables()["public.guests"] == [{**before, "name": "b"}]


def test_a_change_that_cannot_be_read_makes_the_state_partial() -> None:
    """Left out without a word it would be a silent loss."""
    state = replayed(a_row(10, None, guest(1, "a")), a_change(11, b"{", table="public.guests"))

    assert names(state) == ["a"]
    assert not state.is_whole


def test_a_table_without_a_rule_makes_everything_partial() -> None:
    """Its key is unknown, so its rows cannot be told apart."""
    state = replayed(a_row(10, None, {"id": 1}, "audit"), wedding=None)

    assert not state.is_whole
    assert "public.audit" in state.warnings[0]


def test_a_new_epochs_copy_ends_the_rows_of_the_old() -> None:
    """What was deleted while nobody listened is absent from the copy; without one the old rows stay."""
    old = a_row(10, None, guest(1, "deleted unseen"))
    new = a_row(3, None, guest(2, "copied"), epoch=EPOCH + 1)
    cut = a_cut(epoch=EPOCH + 1)

    assert names(replayed(old, new, cut=cut)) == ["deleted unseen", "copied"]
    assert names(replayed(old, new, a_completion(5, "guests", epoch=EPOCH + 1), cut=cut)) == ["copied"]


def test_an_object_is_its_newest_version_at_t() -> None:
    """By the store's own instants; of the same instant the later notice counts."""
    photos = [a_photo(1, "1", 10), a_photo(2, "3", 30), a_photo(3, "2", 20), a_photo(4, "2b", 20)]

    def version_at(at_us: int | None) -> list[str]:
        return [each.notice.version for each in replayed(*photos, cut=a_cut(at_us=at_us)).objects.values()]

    assert [version_at(at_us) for at_us in (9, 10, 29, 30, None)] == [[], ["1"], ["2b"], ["3"], ["3"]]


def test_the_stores_own_order_counts_and_not_its_clocks() -> None:
    """Nor the order of arrival; what a sweep found, which has no place in that order, is placed by time."""
    late, early = a_photo(1, "2", 10, sequencer="b"), a_photo(2, "1", 20, sequencer="a")
    swept = a_photo(3, "3", 11)
    for photos in itertools.permutations([late, early]):
        (found,) = replayed(*photos).objects.values()
        assert found.notice.version == "2"
    for photos in itertools.permutations([late, early, swept]):
        (found,) = replayed(*photos).objects.values()
        assert found.notice.version == "3"


def test_a_deleted_object_is_not_there() -> None:
    """Until it is put again."""
    assert not replayed(a_photo(1, "1", 10), a_photo(2, "", 20)).objects
    assert replayed(a_photo(1, "1", 10), a_photo(2, "", 20), a_photo(3, "2", 30)).objects


def test_the_audit_passes_when_every_change_has_come() -> None:
    """Of everything the ENDs' counts must be met exactly; the first END of an epoch is let off."""
    changes = [
        an_end(1, 5, of=0),
        a_row(10, None, guest(1, "a")),
        an_end(11),
        a_row(20, None, guest(2, "b")),
        an_end(21),
    ]

    audit = replayed(*changes, wedding=None).audit

    assert (audit.transactions, audit.expected, audit.found, audit.is_passed) == (3, 2, 2, True)


def test_the_audit_misses_a_lost_change() -> None:
    """One END counts more than was found."""
    changes = [an_end(1, 5, of=0), a_row(10, None, guest(1, "a")), an_end(11, 2)]

    assert not replayed(*changes, wedding=None).audit.is_passed


def test_the_audit_misses_a_lost_end() -> None:
    """A change whose transaction has no END at or below the cut: something is torn, for one wedding too."""
    changes = [an_end(1, 5, of=0), a_row(10, None, guest(1, "a"))]

    assert not replayed(*changes).audit.is_passed


@pytest.mark.parametrize("seed", range(60))
def test_order_and_repetition_of_arrival_mean_nothing(seed: int) -> None:
    """A history in any order, some changes twice, gives what a plain reading of it gives."""
    rng = random.Random(seed)
    changes, expected = a_history(rng)
    scattered = [*changes, *rng.choices(changes, k=10)]
    rng.shuffle(scattered)

    assert dict(replayed(*scattered).rows.get("public.guests", {})) == expected, f"seed {seed}"


def a_history(rng: random.Random) -> tuple[list[Change], dict[bytes, dict[str, Any]]]:
    """Return random changes of one wedding's guests, and what a plain reading up to position 100 leaves."""
    alive: dict[int, dict[str, Any]] = {}
    at_cut: dict[int, dict[str, Any]] = {}
    changes: list[Change] = []
    for position in range(60, 140):
        number, before = rng.randrange(6), None
        before = alive.get(number)
        after = (
            None if before and rng.random() < 0.3 else guest(number, f"at {position}", rng.choice(["w1", "w1", "w2"]))
        )
        if rng.random() < 0.04:
            alive, before, after = {}, None, None
            changes.append(a_truncate(position))
        else:
            changes.append(a_row(position, before, after))
            alive = {**alive, number: after} if after else {n: row for n, row in alive.items() if n != number}
        if position <= 100:
            at_cut = alive
    ours: Iterable[dict[str, Any]] = (row for row in at_cut.values() if row["wedding_id"] == "w1")
    return changes, {orjson.dumps([row["id"]]): row for row in ours}


def test_a_difference_names_rows_columns_and_objects() -> None:
    """Added, removed and changed, by key and by column."""
    earlier = replayed(a_row(1, None, guest(1, "a")), a_row(2, None, guest(2, "b")), a_photo(3, "1", 10))
    later = replayed(a_row(1, None, guest(1, "A")), a_row(2, None, guest(3, "c")), a_photo(3, "2", 10))

    found = diff(earlier, later)

    guests = found.tables["public.guests"]
    assert (guests.added, guests.removed, guests.changed) == ((b"[3]",), (b"[2]",), {b"[1]": ("name",)})
    assert found.objects_changed == (("objects", "photos", "weddings/w1/a.jpg"),)
    assert diff(later, later).tables == {}
