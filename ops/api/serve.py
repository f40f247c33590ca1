"""The worker process `api`: the routes behind uvicorn, on a port that stays the same over restarts."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from ops import bootstrap
from ops.api.appender import Appender
from ops.api.clients import Clients
from ops.api.event_log import KafkaEventLog
from ops.api.ledger import Ledger
from ops.api.limits import RateLimit
from ops.api.reachable import url_file
from ops.api.web import Entry, make_app
from ops.worker_metrics import make, serve
from schemas import metrics
from schemas.errors import ConfigError

if TYPE_CHECKING:
    import pathlib

    from ops.config import Settings

CONNECTIONS_MAX: Final = 256
_BACKLOG: Final = 128
_KEEP_ALIVE_SECONDS: Final = 30
_GRACE_SECONDS: Final = 5
_HEAD_BYTES_MAX: Final = 64 << 10


def run_api(settings: Settings, brokers: str) -> None:
    """Receive events until told to stop.

    Raises:
        ConfigError: the port of the settings is taken.
        RefusedError: another process of this state folder receives events already.
    """
    ledger = Ledger(settings.state_dir / "api" / "ledger.db")
    accepted, refused = make(metrics.EVENTS_ACCEPTED), make(metrics.EVENTS_REFUSED)
    entry = Entry(
        appender=Appender(event_log=KafkaEventLog(brokers), ledger=ledger, now_us=_now_us),
        clients=Clients(settings.api_clients_file),
        rate=RateLimit(per_second=settings.api.events_per_second, burst=settings.api.events_burst),
        mapping=bootstrap.mapping(settings),
        event_bytes_max=settings.api.event_bytes_max,
        request_bytes_max=settings.api.request_bytes_max,
        now=bootstrap.now,
        seconds=time.monotonic,
        accepted=accepted.inc,
        refused=lambda status: refused.labels(str(status)).inc(),
    )
    serve("api", settings.state_dir / "run")
    listening = listen(settings.api.host, settings.api.port, url_file(settings))
    try:
        uvicorn.Server(server_config(make_app(entry))).run(sockets=[listening])
    finally:
        ledger.close()


def server_config(app: Any) -> uvicorn.Config:
    """Return how the routes are served: little of a head is read, and no more connections than can be answered."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=_HEAD_BYTES_MAX,
    )


def listen(host: str, port: int, told: pathlib.Path) -> socket.socket:
    """Return a listening socket, and tell its address in a file; with port 0 the one told before is preferred.

    Raises:
        ConfigError: a port that was asked for is taken.
    """
    for candidate in [port] if port else [_port_told(told), 0]:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, candidate))
        except OSError as error:
            listening.close()
            if port:
                raise ConfigError(f"setting api.port: {host}:{port}: {error.strerror}", hint="name another") from error
            continue
        listening.listen(_BACKLOG)
        told.parent.mkdir(parents=True, exist_ok=True)
        name = f"[{host}]" if ":" in host else host
        told.write_text(f"http://{name}:{listening.getsockname()[1]}\n")
        return listening
    raise ConfigError(f"setting api.host: cannot listen on {host}", hint="is it an address of this machine?")


def _port_told(told: pathlib.Path) -> int:
    try:
        port = int(told.read_text().strip().rpartition(":")[2])
    except (FileNotFoundError, ValueError):
        return 0
    return port if 0 < port < 1 << 16 else 0


def _now_us() -> int:
    return int(bootstrap.now().timestamp() * 1_000_000)
