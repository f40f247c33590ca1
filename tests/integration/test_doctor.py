"""The doctor on a real database: what is fit passes, each thing that would lose data is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops import doctor, onboarding
from ops.config import Settings
from ops.doctor_rules import Outcome
from ops.sample import platform
from schemas.errors import ConfigError
from tests.integration.databases import a_database, execute

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.asyncio]

HARM = {
    "keys": "CREATE TABLE keyless (a int)",
    "names": 'CREATE TABLE "the ""list""" (id int PRIMARY KEY)',
    "unlogged": "CREATE UNLOGGED TABLE cache (id int PRIMARY KEY)",
    "large_objects": "SELECT lo_create(0)",
}


async def test_each_harm_is_found_and_none_in_a_database_that_is_fit(stack: LocalStack, tmp_path: Path) -> None:
    """And no connector would be registered for one that is harmed."""
    settings = Settings(state_dir=tmp_path)
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        await onboarding.prepare(dsn)
        before = await doctor.examine_database(settings, dsn, is_prepared=True)
        await doctor.refuse_unfit(settings, dsn)
        for statement in HARM.values():
            await execute(dsn, statement)
        after = await doctor.examine_database(settings, dsn, is_prepared=True)
        with pytest.raises(ConfigError, match="unlogged"):
            await doctor.refuse_unfit(settings, dsn)
        await execute(dsn, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")

    assert [check.name for check in before if check.outcome is Outcome.FAIL] == []
    assert {check.name for check in after if check.outcome is Outcome.FAIL} == set(HARM)
