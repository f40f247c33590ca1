"""Prometheus metrics of the workers: one registry a process, served on loopback, the port written to `run/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import prometheus_client

from schemas import metrics

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from schemas.backup import Priority
    from sinks.protect import Protected
    from sinks.receipts import Claim

_MICRO: Final = 1_000_000
_KINDS: Final[dict[str, Any]] = {"counter": prometheus_client.Counter, "gauge": prometheus_client.Gauge}


def make(metric: metrics.Metric) -> Any:
    """Return the collector of one metric, in the process's registry."""
    if metric.kind == "histogram":
        return prometheus_client.Histogram(
            metric.name, metric.says, metric.labels, buckets=metrics.LATENCY_BUCKETS_SECONDS
        )
    return _KINDS[metric.kind](metric.name, metric.says, metric.labels)


def serve(name: str, run_dir: pathlib.Path) -> int:
    """Serve `/metrics` on a free loopback port, write it to `run/<name>.metrics`, and return it."""
    server, _thread = prometheus_client.start_http_server(0, addr="127.0.0.1")
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / f"{name}.metrics").write_text(f"http://127.0.0.1:{server.server_port}/metrics\n")
    return int(server.server_port)


class SinkMetrics:
    """What a sink says of itself, observed once a window."""

    def __init__(self) -> None:
        self._initiation = make(metrics.INITIATION)
        self._protection = make(metrics.PROTECTION)
        self._changes, self._bytes = make(metrics.PROTECTED), make(metrics.PROTECTED_BYTES)
        self._objects, self._last = make(metrics.PROTECTED_OBJECTS), make(metrics.LAST_PROTECTED)
        self._repeated, self._undecodable = make(metrics.REPEATED), make(metrics.UNDECODABLE)

    def window_protected(self, lane: Priority, protected: Protected) -> None:
        """Observe the instants of a window's changes."""
        initiation, protection = self._initiation.labels(lane.value), self._protection.labels(lane.value, "change")
        for committed_us, routed_us in protected.window.instants:
            initiation.observe(max(0, routed_us - committed_us) / _MICRO)
            protection.observe(max(0, protected.protected_us - committed_us) / _MICRO)
        self._changes.labels(lane.value).inc(len(protected.window.instants))
        self._bytes.labels(lane.value).inc(protected.size_bytes)
        self._repeated.labels(lane.value).inc(protected.window.repeated)
        self._undecodable.labels(lane.value).inc(protected.window.undecodable)
        self._last.labels(lane.value).set(protected.protected_us / _MICRO)

    def object_protected(self, claim: Claim, protected_us: int) -> None:
        """Observe one object version."""
        self._protection.labels(claim.lane, "object").observe(max(0, protected_us - claim.modified_us) / _MICRO)
        self._objects.labels(claim.lane).inc()


class Gauges:
    """Gauges that are read when somebody asks."""

    def __init__(self, readings: dict[metrics.Metric, Callable[[], float]]) -> None:
        for metric, read in readings.items():
            make(metric).set_function(read)
