"""`longtail cloud serve` as a process of its own, to be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from contracts.clock import SystemClock

_START_S = 60
_PROGRAM = "import sys; from cloud_ingest.cli import app; app(sys.argv[1:])"


class ServerProcess:
    """A service on `folder`. The folder of the test must be short for its socket's sake."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder.parent / f"{folder.name}.log"

    def start(self, **environment: str) -> None:
        """Start and wait for the ready file. Without steps after commits, unless asked for."""
        ready = self.folder.parent / f"{self.folder.name}.ready"
        ready.unlink(missing_ok=True)
        arguments = ["serve", "--port", "0", "--folder", str(self.folder)]
        arguments += ["--ready-file", str(ready)]
        kept = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *arguments],
                stdout=log,
                stderr=log,
                env=kept | {"LONGTAIL_STEPS_WORKERS": "0"} | environment,
                cwd=Path(__file__).parents[2],
            )
        clock = SystemClock()
        end_ns = clock.mono_ns() + _START_S * 10**9
        while not ready.exists():
            try:
                self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                if clock.mono_ns() < end_ns:
                    continue
            raise RuntimeError(f"the server did not start: {self.log()}")
        self.url = ready.read_text().strip()

    def kill(self) -> None:
        """As a crash would, at once."""
        self.end(signal.SIGKILL)

    def stop(self) -> int:
        """Orderly; returns the exit status."""
        return self.end(signal.SIGTERM)

    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int) -> int:
        """Send a signal and wait; the exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(60)

    def wait(self) -> int:
        """The exit status of a server that ends by itself."""
        process, self._process = self._process, None
        return 0 if process is None else process.wait(60)
