"""A camera's address: which kind of source it names, and what its options say."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from contracts.errors import InputError
from edge_agent.sources.address import Address, parse_address
from edge_agent.sources.cameras.calibration import load_calibration
from edge_agent.sources.cameras.pictures import Video
from edge_agent.sources.cameras.source import GIVE_UP_NS, CameraFileSource, CameraStreamSource
from edge_agent.sources.cameras.times import times_of_file

OPTIONS = (
    "name", "calibration", "start", "times", "max_hz", "size", "rate", "format", "transport",
    "latency", "give_up",
)  # fmt: skip
FILE_OPTIONS, LIVE_OPTIONS = ("start", "times"), ("size", "rate", "format", "transport", "latency",
                                                  "give_up")  # fmt: skip
OPEN_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 3.0


def open_camera(rest: str) -> CameraFileSource | CameraStreamSource:
    """`VIDEO_FILE`, `/dev/videoN` or a URL, each with options. Raises `InputError`."""
    address = parse_address("camera", rest, OPTIONS)
    target = address.target
    is_url, is_device = "://" in target, target.startswith("/dev/")
    is_live = is_url or is_device
    for option in FILE_OPTIONS if is_live else LIVE_OPTIONS:
        if option in address.options:
            kind = "a recorded file" if is_live else "a live stream"
            raise InputError(f"{option} is for {kind} only", address.place)
    channel = _channel(address, "front" if is_live else Path(target).stem)
    file = address.path("calibration")
    calibration = load_calibration(file) if file is not None else None
    max_hz = _positive(address, "max_hz")
    if not is_live:
        if not Path(target).is_file():
            raise InputError(
                "no such file; give camera:VIDEO_FILE, camera:/dev/video0 or camera:rtsp://...",
                address.place,
            )
        return CameraFileSource(
            Path(target), channel, calibration=calibration, max_hz=max_hz,
            start_utc_ns=_start(address), times_ns=_times(address),
        )  # fmt: skip
    return CameraStreamSource(
        _device(address) if is_device else _stream(address), channel,
        calibration=calibration, max_hz=max_hz,
        latency_ns=address.duration_ns("latency", 0),
        give_up_ns=address.duration_ns("give_up", GIVE_UP_NS),
    )  # fmt: skip


def _channel(address: Address, fallback: str) -> str:
    name = address.options.get("name") or re.sub(r"[^A-Za-z0-9_-]", "_", fallback)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise InputError(f"name={name}: letters, digits, - and _ only", address.place)
    return f"/camera/{name}"


def _positive(address: Address, option: str) -> float | None:
    text = address.options.get(option)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise InputError(f"{option} must be a number above 0, not {text!r}", address.place)
    return value


def _start(address: Address) -> int | None:
    text = address.options.get("start")
    if text is None:
        return None
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        start = None
    if start is None or start.tzinfo is None:
        raise InputError(
            f"start={text} is not a time such as 2026-05-01T12:00:00.25Z", address.place
        )
    return round(start.timestamp() * 1_000_000) * 1000


def _times(address: Address) -> list[int] | None:
    path = address.path("times")
    if path is None:
        return None
    if "start" in address.options:
        raise InputError("give start or times, not both", address.place)
    try:
        return times_of_file(path.read_text("ascii").splitlines(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from error


def _device(address: Address) -> Callable[[], Video]:
    options: dict[str, str] = {"input_format": address.options.get("format", "mjpeg")}
    if "transport" in address.options:
        raise InputError("transport is for URLs", address.place)
    if "size" in address.options:
        if not re.fullmatch(r"\d{2,5}x\d{2,5}", address.options["size"]):
            raise InputError("size is written 1280x720", address.place)
        options["video_size"] = address.options["size"]
    rate = _positive(address, "rate")
    if rate is not None:
        options["framerate"] = f"{rate:g}"
    return lambda: Video(address.target, container_format="v4l2", options=options, live=True)


def _stream(address: Address) -> Callable[[], Video]:
    for option in ("size", "rate", "format"):
        if option in address.options:
            raise InputError(f"{option} is for devices", address.place)
    options: dict[str, str] = {}
    if address.target.startswith("rtsp"):
        transport = address.options.get("transport", "tcp")
        if transport not in ("tcp", "udp"):
            raise InputError("transport is tcp or udp", address.place)
        options["rtsp_transport"] = transport
    return lambda: Video(
        address.target, options=options, timeout_s=(OPEN_TIMEOUT_S, READ_TIMEOUT_S), live=True
    )  # fmt: skip
