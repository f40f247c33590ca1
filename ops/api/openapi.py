"""Writes `openapi.json` from the routes: `python -m ops.api.openapi`. A test compares the two."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Final, cast

from ops.api.web import Entry, make_app

FILE: Final = pathlib.Path(__file__).with_name("openapi.json")


def document() -> str:
    """Return the OpenAPI document of the routes."""
    # Only the routes are looked at: nothing they stand on is needed.
    about: dict[str, Any] = make_app(cast("Entry", None)).openapi()
    schemes = about.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["token"] = {"type": "http", "scheme": "bearer"}
    return json.dumps(about, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
