"""What waited for a parent row, once the row has come: its children, and theirs in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectors import debezium
from connectors.debezium import Change
from schemas import codec
from streams.row_reading import own_name, parent_of
from streams.state import Member

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.live_rules import LiveRules
    from streams.state import RouterState


def released(parent: bytes, wedding: str, *, state: RouterState, rules: LiveRules) -> Iterator[dict[str, Any]]:
    """Yield the `BackupChange`s, in order, that are now known to be this wedding's; they wait no longer.

    Call inside the state's batch. `parent` is named as `streams.state.parent_name` says.
    """
    for value in state.take_waiting(parent):
        record = codec.decode("BackupChange", value)
        yield record
        if not record["kind"].startswith("object"):
            for name in _members_named(record, parent, wedding, state, rules):
                yield from released(name, wedding, state=state, rules=rules)


def _members_named(
    record: dict[str, Any], parent: bytes, wedding: str, state: RouterState, rules: LiveRules
) -> Iterator[bytes]:
    """Yield the names by which others follow a row just released, if it is (and stays) with this parent."""
    change = debezium.parse(record["payload"])
    assert isinstance(change, Change)
    table = rules.table(change.table)
    assert table.rule is not None
    if parent_of(change.image, table.rule) != parent:
        return
    for columns in table.references:
        name = own_name(change.table, change.image, columns)
        if state.remember_member(name, Member(wedding, record["epoch"], record["position"])):
            yield name
