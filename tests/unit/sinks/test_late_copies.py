"""A copy may arrive before the catalog knows its pack."""

from __future__ import annotations

from sinks import late_copies
from sinks.replicate import Copy
from sinks.stores.port import Proof
from tests.builders import a_record, change_value
from tests.unit.sinks.rigs import Rig, an_item


async def test_a_copy_of_a_pack_that_is_not_committed_yet_is_kept_for_it() -> None:
    """And recorded with the commit."""
    rig = Rig()
    rig.break_stores("us-a")
    mark = await rig.catalog.mark("backup.critical", "id-critical", 0)
    prepared = await rig.protector.prepare([a_record(0, change_value())], mark)
    pack = prepared.packs[0]
    await rig.late.arrived(an_item(pack.content, name=pack.name), Copy(store="us-a", proof=Proof.READ_BACK))
    await rig.protector.protect(prepared)

    assert ("us-a",) in rig.rows("SELECT store FROM copies")


async def test_copies_of_packs_that_never_came_to_be_do_not_fill_the_memory() -> None:
    """What falls out is found as owed work."""
    rig = Rig()
    for number in range(late_copies._WAITING_MAX + 10):
        await rig.late.arrived(an_item(f"{number}".encode()), Copy(store="eu-a", proof=Proof.READ_BACK))

    assert len(rig.late._waiting) == late_copies._WAITING_MAX
