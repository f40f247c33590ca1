"""Dead letters in the archive: unprotected until resolved, found again from the stores, retried at their old place."""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING

import fastavro
import pytest

from ops import dead_letters
from schemas import codec
from schemas.errors import RefusedError
from schemas.partitioning import partition_of
from schemas.topics import parse_capture_topic
from streams.records import Outgoing
from tests import builders
from tests.builders import a_row
from tests.unit.schemas.test_versions import earlier_version
from tests.unit.sinks.archive import EPOCH, PARTITIONS, Archive, added, changed, guest, wedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.dead_letters import Letter

CAPTURE = f"capture.platform.e{EPOCH}"


class Capture:
    """Takes what is sent to capture topics into an archive's capture, the rest onto its backup topics."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        for each in records:
            if each.topic.startswith("capture."):
                self.archive.capture(each.topic, each.value or b"")
            else:
                await self.archive.topics.deliver([each])


async def letters_of(archive: Archive) -> list[Letter]:
    """Return the unresolved letters with their bytes."""
    return (await dead_letters.LetterReader(archive.history(), keep=lambda _: True).refresh()).unresolved()


async def send(archive: Archive, *letters: Letter) -> None:
    """Ask for a retry, and let it come to its end."""
    await dead_letters.send(Capture(archive), letters, partitions=PARTITIONS, topic_of=lambda _: CAPTURE)
    await archive.settle()


@pytest.fixture
async def archive() -> Archive:
    """Return an archive of a wedding with two guests, and a poisoned record between their changes."""
    archive = Archive()
    for table in archive.mapping.tables:
        archive.copied(table)
    archive.commit(added("weddings", wedding("w1")), added("guests", guest(1, "Ann")))
    archive.commit(added("vendors", {"id": 1}))
    archive.capture(CAPTURE, b"{")
    archive.commit(changed("guests", guest(1, "Ann"), guest(1, "Anne")))
    await archive.settle()
    return archive


async def test_a_restore_with_an_unresolved_letter_is_not_called_whole(archive: Archive) -> None:
    """What it says may have been about this wedding."""
    state = await archive.restorer().state_at("w1", None)

    assert not state.is_whole
    assert "1 dead letters are not part of this restore" in state.warnings[0]


async def test_a_restore_of_before_the_letter_is_whole(archive: Archive) -> None:
    """It did not exist then."""
    first_us = archive._us - 2_000_000
    at = builders.NOON.fromtimestamp(first_us / 1_000_000, tz=builders.NOON.tzinfo)

    assert (await archive.restorer().state_at("w1", at)).is_whole


async def test_letters_are_found_again_from_the_stores_alone(archive: Archive) -> None:
    """Their topic has aged out, and the catalog is lost."""
    await archive.rebuild()
    (letter,) = await letters_of(archive)

    assert (letter.about["value"], letter.about["origin"], letter.about["offset"]) == (b"{", CAPTURE, 13)


async def test_a_letter_retried_late_overwrites_nothing_newer(archive: Archive) -> None:
    """It was the guest's name of before; the newer one holds, and a deleted wedding stays as it is."""
    (letter,) = await letters_of(archive)
    older = a_row(
        "public.guests", before=guest(1, "Ann"), after=guest(1, "Anna"), transaction=0, committed_us=archive._us
    )
    await send(archive, dataclasses.replace(letter, about={**letter.about, "value": older}))
    state = await archive.restorer().state_at("w1", None)

    assert [row["name"] for row in state.tables()["public.guests"]] == ["Anne"]
    assert (state.is_whole, await letters_of(archive)) == (True, [])


async def test_a_letter_s_row_is_part_of_every_restore_once_it_is_retried(archive: Archive) -> None:
    """At its own place in the log: a restore of then has it too."""
    (letter,) = await letters_of(archive)
    missed = a_row("public.guests", after=guest(2, "Bob"), transaction=0, committed_us=archive._us - 500_000)
    await send(archive, *[dataclasses.replace(letter, about={**letter.about, "value": missed})] * 2)
    names = [row["name"] for row in (await archive.restorer().state_at("w1", None)).tables()["public.guests"]]

    assert names == ["Anne", "Bob"]


async def test_a_retry_that_fails_says_why_and_stays(archive: Archive) -> None:
    """Nothing was mended."""
    await send(archive, *await letters_of(archive))
    (letter,) = await letters_of(archive)

    assert len(letter.reasons) == 2


async def test_a_discarded_letter_is_resolved(archive: Archive) -> None:
    """Its bytes stay; nothing waits for anybody."""
    (letter,) = await letters_of(archive)
    await archive.topics.deliver([dead_letters._outcome(letter, "discarded", "a test", PARTITIONS)])
    await archive.settle()

    assert await letters_of(archive) == []
    assert (await archive.restorer().state_at("w1", None)).is_whole


async def test_what_a_sink_of_before_could_not_read_goes_back_to_its_partition(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer router wrote a version the sink did not know; the newer sink does."""
    newer = earlier_version("fields[:] = [each for each in fields if each['name'] != 'also']")
    out = io.BytesIO()
    row = a_row("public.guests", after=guest(3, "Cid"), committed_us=archive._us)
    fastavro.schemaless_writer(out, newer.schema, builders.a_change(position=3, epoch=EPOCH, payload=row))
    value = newer.header + out.getvalue()
    await archive.topics.deliver([Outgoing("backup.standard", partition_of("w1", PARTITIONS), b"w1", value)])
    await archive.settle()
    monkeypatch.setitem(codec.VERSIONS, newer.header, newer)
    await send(archive, *[each for each in await letters_of(archive) if not each.about["source"]])
    names = [row["name"] for row in (await archive.restorer().state_at("w1", None)).tables()["public.guests"]]

    assert names == ["Anne", "Cid"]
    assert [each.about["source"] for each in await letters_of(archive)] == ["platform"]


async def test_an_id_that_means_no_one_letter_is_refused(archive: Archive) -> None:
    """To retry or discard another than was meant would be worse than to ask again."""
    letters = await dead_letters.LetterReader(archive.history()).refresh()

    for wanted in ("", "zz"):
        with pytest.raises(RefusedError, match="dead letters begin with"):
            dead_letters._chosen(letters, [wanted])


async def test_letters_are_described_without_their_content(archive: Archive) -> None:
    """A list may lie around; what it lists may be about people."""
    (letter,) = await letters_of(archive)
    about = dead_letters.described(letter)

    assert (about["state"], about["bytes"], parse_capture_topic(about["origin"])[0]) == ("unresolved", 1, "platform")
    assert "value" not in about
