"""A page in headless Chromium, served by one loopback origin and reading from another."""

from __future__ import annotations

import html
import http.server
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.programs import clean_environment, find_program

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
_PATIENCE_MS = 20_000
_RESULT = re.compile(r'<pre id="result">(.*?)</pre>', re.DOTALL)


@contextmanager
def page_server(page: Path) -> Iterator[int]:
    """Serves one page at every path of a free loopback port."""
    content = page.read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def dump_result(url: str, profile: Path, *more_flags: str) -> dict[str, Any]:
    """Open `url` and read the JSON that the page left in its `<pre id="result">`."""
    program = find_program("chromium", "apt-get install chromium")
    done = subprocess.run(
        [
            program, *_FLAGS, *more_flags, f"--user-data-dir={profile}",
            f"--virtual-time-budget={_PATIENCE_MS}", "--dump-dom", url,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        env=clean_environment({"HOME": str(profile)}),
    )  # fmt: skip
    found = _RESULT.search(done.stdout)
    if done.returncode != 0 or found is None or not found.group(1):
        pytest.fail(f"Chromium ended with {done.returncode}:\n{done.stdout}\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return told
