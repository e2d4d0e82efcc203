"""Upload client: CPU of sending a clip, against `socket.sendfile` of the same file.

The whole client is measured: ledger, policy, session, tokens and HTTP, on a clip whose
digests were computed while it was packed. Both send to the same kind of sink, a process of
its own that reads into one buffer and throws away; only this process's CPU time counts. The
jobs take turns, and the figures are medians.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import socket
import statistics
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.figures import Figure, figure
from contracts.clip import Window
from contracts.clock import NS_PER_S, SystemClock
from contracts.errors import LongtailError
from contracts.ids import PART_BYTES, EventKey, digest_file
from contracts.upload import UploadRequest
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.ledger import Ledger
from edge_agent.ports import Link
from edge_agent.spool import ClipDescription, Spool
from edge_agent.upload import (
    CellularLimits,
    FixedLink,
    Receiver,
    Transport,
    TransportLimits,
    Uploader,
    WireMeter,
)

CLIP_BYTES = 24 * PART_BYTES
_REPETITIONS = 7
_BUFFER_BYTES = 1024 * 1024


def serve_sink(pipe: Connection, core: int) -> None:
    """Answer as a receiver that keeps nothing. Sends its port through `pipe`, then serves."""
    os.sched_setaffinity(0, {core})
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname()[1])
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve_one, args=(connection,), daemon=True).start()


def _serve_one(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    offsets: dict[str, int] = {}
    with connection:
        while _answer(connection, buffer, offsets):
            pass


def _answer(connection: socket.socket, buffer: memoryview, offsets: dict[str, int]) -> bool:
    head = bytearray()
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(65_536)
        if not chunk:
            return False
        head += chunk
    text, _, rest = bytes(head).partition(b"\r\n\r\n")
    lines = text.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    length = int(fields.get("content-length", "0"))
    if "expect" in fields:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    small = bytearray(rest) if method == "POST" else bytearray()
    left = length - len(rest)
    while left:
        count = connection.recv_into(buffer, min(left, len(buffer)))
        if not count:
            return False
        if method == "POST":
            small += buffer[:count]
        left -= count
    if method == "PATCH":
        offsets[path] = int(fields.get("upload-offset", "0")) + length
    body = json.dumps(_body(method, path, bytes(small))).encode()
    reply = f"HTTP/1.1 200 OK\r\nUpload-Offset: {offsets.get(path, 0)}\r\n"
    size = 0 if method == "HEAD" else len(body)
    reply += f"Content-Length: {size}\r\n\r\n"
    connection.sendall(reply.encode() + body[:size])
    return True


def _body(method: str, path: str, sent: bytes) -> dict[str, object]:
    times = {"server_utc_ns": 0, "expires_utc_ns": 3600 * NS_PER_S}
    if path.endswith("/challenge"):
        return {"challenge": "c", **times}
    if path.endswith("/token"):
        return {"token": "t", **times}
    if method == "POST":
        clip_id = json.loads(sent)["clip_id"]
        return {"answer": "upload", "clip_id": clip_id, "upload_url": f"/v1/tus/{clip_id}"}
    return {"clip_id": path.rpartition("/")[2], "state": "committed"}


class SendingVehicle:
    """A client whose spool holds one clip at a time.

    Args:
        port: of the receiver on loopback.
        clip_bytes: of each clip, whole parts.
    """

    def __init__(self, folder: Path, port: int, clip_bytes: int = CLIP_BYTES) -> None:
        self._parts = clip_bytes // PART_BYTES
        clock = SystemClock()
        self._ledger = Ledger(folder / "ledger.sqlite", clock, "bench")
        self._spool = Spool(
            folder / "spool", 2 * clip_bytes, 0, clock, RealDisk(), self._ledger, _describe
        )
        self._key = VehicleKey.load_or_create(folder / "key.pem", "bench", RealDisk())
        self._base_url = f"http://127.0.0.1:{port}"
        self._clock = clock
        self._noise = random.Random(1).randbytes(PART_BYTES)

    def add_clip(self, number: int) -> Path:
        """Commit a new clip; where it lies."""
        path = self._spool.begin(f"clip-{number}")
        with path.open("wb") as file:
            file.write(number.to_bytes(8, "little"))
            for _ in range(self._parts - 1):
                file.write(self._noise)
            file.write(self._noise[:-8])
        hasher = digest_file(path)
        request = UploadRequest(
            clip_id=hasher.clip_id(),
            size_bytes=hasher.size_bytes,
            part_digests=tuple(digest.hex() for digest in hasher.part_digests()),
            event=EventKey(
                vehicle_id="bench", boot_id="bench", start_mono_ns=number, end_mono_ns=number
            ),
            window=Window(start_mono_ns=number, end_mono_ns=number),
        )
        entry = self._spool.commit(path, request, "normal", "forbidden", 1.0)
        return self._spool.path(entry.clip_id)

    def uploader(self, spans: int = 1) -> tuple[Uploader, Receiver]:
        """A client as the daemon makes it, once, and its view of the cloud."""
        transport = Transport(
            self._base_url, self._clock, WireMeter(), TransportLimits(), connections=spans
        )
        rng = random.Random(1)
        receiver = Receiver(transport, self._key, self._clock, rng)
        uploader = Uploader(
            self._spool,
            self._ledger,
            transport,
            receiver,
            FixedLink(Link("wifi")),
            self._clock,
            CellularLimits(),
            rng,
            spans,
        )
        return uploader, receiver

    def close(self) -> None:
        self._ledger.close()


def _describe(path: Path) -> ClipDescription:
    raise LongtailError("the benchmark leaves nothing to recover", str(path))


def send_file(path: Path, port: int) -> None:
    """The reference: one request whose body is the file, sent by the kernel."""
    with socket.create_connection(("127.0.0.1", port)) as connection, path.open("rb") as file:
        size = path.stat().st_size
        connection.sendall(f"PATCH /reference HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode())
        connection.sendfile(file)
        connection.recv(65_536)


def run() -> list[Figure]:
    """CPU and wall time of both, in seconds per gigabyte."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    cores = os.sched_getaffinity(0)
    sink = context.Process(target=serve_sink, args=(theirs, max(cores)), daemon=True)
    sink.start()
    try:
        # Loopback does part of the receiver's work on the sender's core: unless each side
        # keeps to its own, whose time that is changes from run to run.
        os.sched_setaffinity(0, {min(cores)})
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_figures(Path(folder), ours.recv()))
    finally:
        os.sched_setaffinity(0, cores)
        sink.terminate()
        sink.join()


async def _figures(folder: Path, port: int) -> list[Figure]:
    vehicle = SendingVehicle(folder, port)
    uploader, _ = vehicle.uploader()

    async def by_client() -> None:
        sent = (await uploader.drain()).uploaded
        if len(sent) != 1:
            raise LongtailError(f"{len(sent)} clips were sent instead of one")

    async def by_kernel() -> None:
        send_file(path, port)

    cpu: dict[str, list[float]] = {"client": [], "sendfile": []}
    wall: dict[str, list[float]] = {"client": [], "sendfile": []}
    for repetition in range(_REPETITIONS + 1):
        path = vehicle.add_clip(repetition)
        for name, job in (("sendfile", by_kernel), ("client", by_client)):
            cpu_before, wall_before = time.process_time_ns(), time.perf_counter_ns()
            await job()
            if repetition:
                cpu[name].append((time.process_time_ns() - cpu_before) / CLIP_BYTES)
                wall[name].append((time.perf_counter_ns() - wall_before) / CLIP_BYTES)
    await uploader.close()
    vehicle.close()
    middle = {name: statistics.median(values) for name, values in cpu.items()}
    elapsed = {name: statistics.median(values) for name, values in wall.items()}
    return [
        figure(
            "upload client, CPU of sending a clip",
            middle["client"],
            "CPU-s/GB",
            reference="socket.sendfile of the same file",
            reference_value=middle["sendfile"],
            goal="ratio <= 1.5",
        ),
        figure(
            "upload client, wall time of sending a clip over loopback",
            elapsed["client"],
            "s/GB",
            reference="socket.sendfile of the same file",
            reference_value=elapsed["sendfile"],
        ),
    ]
