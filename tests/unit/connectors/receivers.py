"""A receiver of events on loopback that answers as a test says."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Events = list[dict[str, Any]]


class Receiver:
    """Accepts events once by id; `refuse` may name another status for a batch, 0 to hang up without an answer."""

    def __init__(self) -> None:
        self.events: Events = []
        self.requests = 0
        self.refuse: Callable[[Events], int] = lambda _events: 202
        self.url = ""
        self._seen: set[str] = set()

    def take(self, events: Events) -> int:
        """Return the status of the answer."""
        self.requests += 1
        status = self.refuse(events)
        if status in {0, 202}:  # An answer that is lost was written before.
            self.events += [event for event in events if event["id"] not in self._seen]
            self._seen |= {event["id"] for event in events}
        return status


@contextlib.contextmanager
def a_receiver() -> Iterator[Receiver]:
    """Run a receiver on a free port."""
    receiver = Receiver()

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take(json.loads(body))
            if not status:
                self.close_connection = True
                return
            answer = json.dumps({"detail": "a test said so", "hint": "wait"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
