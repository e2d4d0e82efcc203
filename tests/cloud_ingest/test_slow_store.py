"""The object store becomes ten times slower, and fast again, while a fleet sends.

The service is a process of its own, so that its memory is its own; the store takes one part at
a time, each for so long; the vehicles obey what they are told, as the agent does.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S, SystemClock
from contracts.ids import PART_BYTES
from contracts.upload import ADVISED_RATE_HEADER
from tests.cloud_ingest.s3_fake import FakeS3, serving
from tests.cloud_ingest.s3_support import CREDENTIALS, OPERATOR, enrolled
from tests.cloud_ingest.server_process import ServerProcess
from tests.cloud_ingest.support import (
    Vehicle,
    clip_id_of_bytes,
    declaration,
    make_clip,
    make_manifest,
)

FAST_S, SLOW_S = 0.1, 1.0
MEMORY_BYTES = 96 * 2**20
ORDINARY, SAFETY, CLIPS = 14, 2, 4
_log = logging.getLogger(__name__)
PHASES = ("fast", "slow", "fast again")


@dataclass
class Fleet:
    """What was sent, refused and advised, by phase."""

    clock: SystemClock = field(default_factory=SystemClock)
    phase: str = PHASES[0]
    sent: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    advised: dict[str, list[float]] = field(default_factory=lambda: {one: [] for one in PHASES})
    landed: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def one_lane(s3: FakeS3) -> Iterator[threading.Event]:
    """Parts are stored one after the other. While the event is set, slowly."""
    lane, slow, never = threading.Lock(), threading.Event(), threading.Event()

    def wait(operation: str, key: str) -> None:
        if operation == "UploadPart":
            with lane:
                never.wait(SLOW_S if slow.is_set() else FAST_S)

    s3.before = wait
    yield slow


def wait_s(duration_s: float) -> None:
    threading.Event().wait(min(2.0, duration_s))


def send(vehicle: Vehicle, fleet: Fleet, content: bytes, manifest: ClipManifest, kind: str) -> None:
    """One clip, as a vehicle sends it that does what it is told."""
    clip_id = clip_id_of_bytes(content)
    rate: float | None = None
    for _ in range(2000):
        body = declaration(content, manifest) | {"safety": kind == "safety"}
        told = vehicle.http.post("/v1/uploads", json=body, headers=vehicle.bearer).json()
        if told["answer"] == "have_it":
            fleet.landed[fleet.phase, kind] += 1
            return
        if told["answer"] == "wait":
            fleet.refused[fleet.phase, kind] += 1
            wait_s(told["retry_after_s"])
            continue
        at, rate = told["offset_bytes"], told["advised_bytes_per_s"]
        part = content[at : at + PART_BYTES]
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        begin_ns = fleet.clock.mono_ns()
        answer = vehicle.patch(
            told["upload_url"], at, part, **{"Upload-Checksum": f"sha256 {digest}"}
        )
        if answer.status_code == 503:
            fleet.refused[fleet.phase, kind] += 1
            wait_s(float(answer.headers["Retry-After"]))
        if answer.status_code != 204:
            continue
        took_s = (fleet.clock.mono_ns() - begin_ns) / NS_PER_S
        with fleet.lock:
            fleet.sent[fleet.phase] += len(part)
            rate = float(answer.headers.get(ADVISED_RATE_HEADER, rate or 0)) or None
            if rate is not None:
                fleet.advised[fleet.phase].append(rate)
        if rate is not None:
            wait_s(len(part) / rate - took_s)
    pytest.fail(f"clip {clip_id} never landed")


def memory_of(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(fields["VmRSS"].split()[0]) * 1024


@pytest.mark.soak
def test_a_store_slowed_tenfold(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in CREDENTIALS.items():
        monkeypatch.setenv(name, text)
    folder = Path(tempfile.mkdtemp(prefix="lt-slow-"))
    fleet, most, before = Fleet(), 0, 0
    server = ServerProcess(folder / "cloud")
    spans: dict[str, float] = {}
    with serving() as s3, one_lane(s3) as slow:
        try:
            server.start(
                OBJECT_STORE_URL="s3://clips", LONGTAIL_OBJECT_STORE_ENDPOINT=s3.url,
                LONGTAIL_OPERATOR_TOKEN=OPERATOR, LONGTAIL_STEPS_WORKERS="0",
                LONGTAIL_BODY_MEMORY_BYTES=str(MEMORY_BYTES),
            )  # fmt: skip
            assert server._process is not None
            pid = server._process.pid
            kinds = ["ordinary"] * ORDINARY + ["safety"] * SAFETY
            ended = threading.Event()

            def drive(index: int) -> None:
                with httpx.Client(base_url=server.url, timeout=120) as http:
                    vehicle = enrolled(http, f"car-{index}")
                    number = 0
                    while not ended.is_set() or number < CLIPS:
                        begin_ns = (index * 1000 + number) * 20 * NS_PER_S
                        manifest = make_manifest(vehicle.vehicle_id, begin_ns)
                        content = make_clip(manifest, 2 * PART_BYTES - 5000, number)
                        send(vehicle, fleet, content, manifest, kinds[index])
                        number += 1

            with ThreadPoolExecutor(len(kinds)) as pool:
                work = [pool.submit(drive, index) for index in range(len(kinds))]
                for phase, duration_s in zip(PHASES, (15.0, 25.0, 15.0), strict=True):
                    fleet.phase = phase
                    (slow.set if phase == "slow" else slow.clear)()
                    begin_ns = fleet.clock.mono_ns()
                    for _ in range(int(duration_s / 0.2)):
                        threading.Event().wait(0.2)
                        most = max(most, memory_of(pid))
                        before = most if phase == "fast" else before
                    spans[phase] = (fleet.clock.mono_ns() - begin_ns) / NS_PER_S
                ended.set()
                for one in work:
                    one.result()
        finally:
            server.stop()
            shutil.rmtree(folder)
        stored = {name for name in s3.names() if "/raw/" in name}
    rates = {phase: round(fleet.sent[phase] / spans[phase] / 1e6, 1) for phase in PHASES}
    figures = {
        "MB/s": rates,
        "memory MiB": (before // 2**20, most // 2**20),
        "refused": dict(fleet.refused),
        "landed": dict(fleet.landed),
        "least advice": {phase: min(told, default=None) for phase, told in fleet.advised.items()},
    }
    _log.info("%s", figures)
    assert most - before < MEMORY_BYTES, figures
    assert rates["slow"] < 0.5 * max(rates["fast"], rates["fast again"]), figures
    assert rates["fast again"] > 2 * rates["slow"], figures
    assert fleet.landed["slow", "safety"] > 0, figures
    assert fleet.refused["slow", "safety"] == 0, figures
    assert fleet.advised["slow"] != [], figures
    assert len(stored) == sum(fleet.landed.values())
    assert s3.multiparts == {}
