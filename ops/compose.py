"""What the containers of `docker-compose.yml` run: `python -m ops.compose setup|WORKER --brokers …`.

Docker starts, checks and restarts what the supervisor of the local stack does elsewhere. Left for `setup` is what
`up` does besides: keys, publication, topics, connector. It may run again at any time. The workers are the very same;
they serve their metrics once more, on the port that the health checks and Prometheus ask.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final

from ops import bringup, onboarding, workers
from ops.api.clients import ensure_first_client
from ops.config import load_settings
from schemas.errors import ConfigError, WedSyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.config import Settings

METRICS_PORT: Final = 9464
WORKERS: Final = bringup.WORKERS
_OWN_TABLES: Final = "SELECT to_regclass('public.weddings') IS NOT NULL, count(*) FROM pg_tables"
_NOT_THEIRS: Final = " WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'wedsync')"


async def set_up(settings: Settings, *, brokers: str, connect_url: str) -> None:
    """Prepare archive, database, topics and connector, whatever of it is not there yet.

    Raises:
        ConfigError: no database is named, or it holds tables that no mapping speaks of.
        TransientError: a part did not answer in time.
    """
    from connectors.connector_config import PLATFORM_SOURCE  # noqa: PLC0415 - workers do not need it
    from ops import doctor  # noqa: PLC0415
    from ops import epochs as beginning  # noqa: PLC0415

    dsn = settings.source.url
    if not dsn:
        raise ConfigError("setting source.url is empty", hint="docker compose sets it from .env")
    bringup.found_archive(settings)
    ensure_first_client(settings.api_clients_file, settings.api_token_file, randomness=os.urandom)
    await _ensure_tables(settings, dsn)
    await onboarding.prepare(dsn)
    epochs = await bringup.ensure_platform_topics(settings, brokers)
    await doctor.refuse_unfit(settings, dsn)
    where = beginning.Where(dsn=dsn, brokers=brokers, connect_url=connect_url)
    # Again is harmless: it finds out what has been done, and finishes an epoch that was begun.
    await beginning.establish(settings, where, epochs[PLATFORM_SOURCE])


async def _ensure_tables(settings: Settings, dsn: str) -> None:
    """Create the sample platform, but only in a database that holds nothing at all."""
    if settings.mapping:
        return
    import psycopg  # noqa: PLC0415

    from ops.sample import platform  # noqa: PLC0415

    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (await connection.execute(_OWN_TABLES + _NOT_THEIRS)).fetchone()
    assert row is not None
    is_there, tables = row
    if not tables:
        await platform.create(dsn)
    elif not is_there:
        raise ConfigError(
            f"the database holds {tables} tables, and no [mapping] says how their rows find a wedding",
            hint="wedsync-backup init --database URL --out ops/docker/config/wedsync.toml",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one container's program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ops.compose", description="one container's program")
    parser.add_argument("what", choices=("setup", *WORKERS))
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--connect", default="http://connect:8083")
    options = parser.parse_args(arguments)
    if options.what == "setup":
        return _set_up(options.brokers, options.connect)
    import prometheus_client  # noqa: PLC0415

    # Reached by other containers only: compose publishes no port of a worker.
    prometheus_client.start_http_server(METRICS_PORT, addr="0.0.0.0")  # noqa: S104
    return workers.main([options.what, "--brokers", options.brokers, "--connect", options.connect])


def _set_up(brokers: str, connect_url: str) -> int:
    try:
        asyncio.run(set_up(load_settings(), brokers=brokers, connect_url=connect_url))
    except WedSyncError as error:
        print(f"setup: {error}\n  {error.hint}", file=sys.stderr)  # noqa: T201 - the container's log
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # Threads of the C libraries must not keep a finished worker alive.
