"""What the demo promises, whether it held, and the table at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from schemas.backup import COPIES_PROTECTED

if TYPE_CHECKING:
    import pathlib

RPO_P999_MS_MAX: Final = 1000.0
INITIATION_P99_MS_MAX: Final = 250.0
MEMORY_MB_MAX: Final = 300.0
PHOTOS_SECONDS_MAX: Final = 60.0
"""500 MB of photos, from the first file in the folder to the last one's verified copies."""


def failures(report: dict[str, Any]) -> list[str]:
    """Return what of the demo's promises did not hold, in words."""
    checks = {
        "every change is protected": report["unprotected"] == 0,
        "nothing protected has fewer than three copies": report["replicas_min"] >= COPIES_PROTECTED,
        "as many changes are archived as Postgres committed": report["archived"] == report["changes"],
        "every event an application sent is archived once": report["events"]["archived"] == report["events"]["sent"],
        "nothing is archived twice": report["repeated"] == 0,
        "no version was lost": report["lost"] == 0,
        "the restored wedding is identical": report["restore"]["identical"],
        "the wedding restored from stores and key alone is identical": report["rebuild"]["identical"],
        f"the photos protected in < {PHOTOS_SECONDS_MAX:.0f} s": report["photos_seconds"] < PHOTOS_SECONDS_MAX,
        f"no process of ours above {MEMORY_MB_MAX:.0f} MB": report["memory_mb"]["largest"] <= MEMORY_MB_MAX,
        f"RPO p99.9 < {RPO_P999_MS_MAX:.0f} ms": _below(report["rpo_ms"]["p99.9"], RPO_P999_MS_MAX),
        f"initiation p99 < {INITIATION_P99_MS_MAX:.0f} ms": _below(
            report["initiation_ms"]["p99"], INITIATION_P99_MS_MAX
        ),
    }
    return [what for what, holds in checks.items() if not holds]


def _below(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


def write_report(report: dict[str, Any], path: pathlib.Path) -> None:
    """Write the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the table's lines."""
    rpo, initiation, restore, rebuild = report["rpo_ms"], report["initiation_ms"], report["restore"], report["rebuild"]
    objects = report["photo_rpo_ms"]
    return [
        ("row changes", f"{report['changes']:,} over {report['weddings']} weddings, all protected"),
        ("events of applications", f"{report['events']['sent']} over HTTP, each archived once"),
        ("photos", f"{report['photos']} ({report['bytes'] / 1e6:,.0f} MB), all protected"),
        ("copies", f"at least {report['replicas_min']}, each encrypted, read back and in the catalog"),
        ("commit → backup topic", f"p50 {initiation['p50']} ms, p99 {initiation['p99']} ms"),
        ("commit → protected", f"p50 {rpo['p50']} ms, p99 {rpo['p99']} ms, p99.9 {rpo['p99.9']} ms"),
        ("photo → protected", f"p50 {objects['p50']} ms, p99 {objects['p99']} ms, worst {objects['max']} ms"),
        (
            "a store broke",
            f"{report['broken_store']['name']} for {report['broken_store']['seconds']} s; what it owed was made up",
        ),
        ("harm", f"{restore['harmed_rows']} guests deleted, {restore['harmed_objects']} photos overwritten"),
        (
            "restored as of T",
            f"{_brought(restore)} in {restore['seconds']} s: {_same(restore)}",
        ),
        ("all but stores and key deleted", f"catalog rebuilt in {rebuild['seconds']} s, restored: {_same(rebuild)}"),
        ("memory, largest process of ours", f"{report['memory_mb']['largest']} MB"),
    ]


def _brought(restore: dict[str, Any]) -> str:
    return f"{restore['rows']} rows, {restore['objects']} photos, {restore['events']} events"


def _same(part: dict[str, Any]) -> str:
    return "identical" if part["identical"] else "DIFFERENT"
