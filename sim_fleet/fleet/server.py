"""The receiver as a process of its own, started again on its address and store when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from contracts.errors import TransientError

START_TIMEOUT_S = 120.0
_OTHERS = ("DATABASE_URL", "OBJECT_STORE_URL", "PUBLIC_URL", "LONGTAIL_OPERATOR_TOKEN")


class ReceiverProcess:
    """Runs `longtail cloud serve` on its embedded default; use as a context manager.

    Attributes:
        url: where it answers, the same over all restarts.
        pid_file: holds the id of the process that runs now.
        restarts: how often it was started again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pid_file = folder / "receiver.pid"
        self.url = ""
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="receiver", daemon=True)

    def __enter__(self) -> ReceiverProcess:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.url = self._start(0)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._watcher.join()

    @property
    def address(self) -> tuple[str, int]:
        return address_of(self.url)

    def _start(self, port: int) -> str:
        ready, log_path = self._folder / "receiver.url", self._folder / "receiver.log"
        ready.unlink(missing_ok=True)
        clean = {name: value for name, value in os.environ.items() if name not in _OTHERS}
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "cloud", "serve", "--port", str(port),
                 "--folder", str(self._folder / "cloud"), "--ready-file", str(ready)],
                stdout=log, stderr=log, env=clean,
            )  # fmt: skip
        self._process = process
        self.pid_file.write_text(f"{process.pid}\n")
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline_s:
                process.kill()
                raise TransientError("the receiver did not start; its log tells why", str(log_path))
            self._stopping.wait(0.05)
            if self._stopping.is_set():
                return self.url
        return ready.read_text().strip()

    def _watch(self) -> None:
        while self._process is not None:
            self._process.wait()
            if self._stopping.is_set():
                return
            self.restarts += 1
            self._start(self.address[1])


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a plain HTTP URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80
