"""A schema registry over real HTTP, as far as its documented protocol goes for registering and reading Avro.

It stands in for a server that cannot be had here: the client, the sockets and the JSON are real, and so are
ids, GUIDs, 404, 409 and the compatibility check, which is our own. Written from the protocol's documentation.
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import threading
import uuid
from typing import TYPE_CHECKING, Any

from schemas.compatibility import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Contents:
    """What the registry holds, and what it was asked."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[int]] = {}
        self.schemas: dict[int, str] = {}
        self.levels: dict[str, str] = {}
        self.asked: list[str] = []
        self.is_down = False
        self._ids = itertools.count(1)

    def register(self, subject: str, schema: str) -> tuple[int, dict[str, Any]]:
        """Return status and answer of a registration."""
        versions = self.subjects.setdefault(subject, [])
        known = next((number for number, each in self.schemas.items() if each == schema), None)
        if known in versions:
            return 200, {"id": known}
        if versions and self.levels.get(subject) == "BACKWARD":
            before = json.loads(self.schemas[versions[-1]])
            if problems := unreadable(writer=before, reader=json.loads(schema)):
                return 409, {"error_code": 409, "message": f"incompatible: {problems[0]}"}
        number = known or next(self._ids)
        self.schemas[number] = schema
        versions.append(number)
        return 200, {"id": number}

    def guid(self, number: int) -> str:
        """Return a schema's GUID."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.schemas[number]))

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return status and answer of a request."""
        self.asked.append(f"{method} {path}")
        match [method, *path.partition("?")[0].strip("/").split("/")]:
            case _ if self.is_down:
                return 503, {"error_code": 50301, "message": "no leader"}
            case ["PUT", "config", subject]:
                self.levels[subject] = body["compatibility"]
                return 200, body
            case ["POST", "subjects", subject, "versions"]:
                return self.register(subject, body["schema"])
            case ["GET", "schemas", "ids", number] if int(number) in self.schemas:
                return 200, {"schema": self.schemas[int(number)]}
            case ["GET", "schemas", "guids", guid]:
                found = next((each for number, each in self.schemas.items() if self.guid(number) == guid), None)
                return (200, {"schema": found}) if found else (404, {"error_code": 40403, "message": "not found"})
            case _:
                return 404, {"error_code": 40403, "message": "Schema not found"}


@contextlib.contextmanager
def served(contents: Contents) -> Iterator[str]:
    """Serve a registry on a free loopback port, and yield its URL."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = contents.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _do  # noqa: N815 - the library finds them by these names

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
