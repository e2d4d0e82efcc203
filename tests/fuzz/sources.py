"""What drives are read from: point clouds, CAN frames, databases and logs, ROS 2 bags."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kernels.lidar.scan_files import parse_scan
from tests.fuzz.target import Target
from tests.fuzz.words import SPEC_WORDS


def pcd(kind: str) -> bytes:
    rows = np.random.default_rng(1).normal(0, 9, (12, 4)).astype(np.float32)
    head = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\n"
        f"COUNT 1 1 1 1\nWIDTH 12\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 12\nDATA {kind}\n"
    ).encode()
    body = rows.tobytes() if kind == "binary" else b"\n".join(
        b" ".join(b"%g" % value for value in row) for row in rows
    )  # fmt: skip
    return head + body


def run_scan(content: bytes) -> None:
    if content[:1] == b"b":
        parse_scan(content[1:], ".bin", "scan")
    else:
        parse_scan(content, ".pcd", "scan")


def run_can(content: bytes) -> None:
    """Frames of the test's own DBC: two bytes of identifier and length, then the payload."""
    from edge_agent.sources.can.binding import Frame

    bound = can_map()
    for at in range(0, len(content) - 1, 10):
        identifier = (256, 257, 2566834709 & 0x1FFFFFFF)[content[at] % 3]
        payload = content[at + 2 : at + 2 + content[at + 1] % 9]
        frame = Frame(identifier, content[at] % 3 == 2, payload, 0)
        for _, value in bound.decode(frame):
            assert isinstance(value, float)


@cache
def can_map() -> Any:
    from edge_agent.sources.can.binding import bind_map, load_dbc
    from edge_agent.sources.can.mapping import load_map
    from tests.edge_agent.can_logs import DBC, MAP

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vehicle.dbc").write_text(DBC)
        (Path(folder) / "map.yaml").write_text(MAP)
        loaded = load_map(Path(folder) / "map.yaml")
        return bind_map(loaded, load_dbc(Path(folder) / "vehicle.dbc", None))


def run_dbc(path: Path) -> None:
    from edge_agent.sources.can.binding import bind_map, load_dbc
    from edge_agent.sources.can.mapping import load_map
    from tests.edge_agent.can_logs import MAP

    (path.parent / "map.yaml").write_text(MAP)
    bind_map(load_map(path.parent / "map.yaml"), load_dbc(path, None))


def dbc_seed() -> list[bytes]:
    from tests.edge_agent.can_logs import DBC

    return [DBC.encode()]


def run_can_map(path: Path) -> None:
    from edge_agent.sources.can.mapping import load_map

    load_map(path)


def can_map_seed() -> list[bytes]:
    from tests.edge_agent.can_logs import MAP

    return [MAP.encode()]


def run_can_log(path: Path) -> None:
    from edge_agent.sources.can.frames import read_log

    for _ in read_log(path, Counter()):
        pass


@cache
def can_logs(suffix: str) -> tuple[bytes, ...]:
    import can

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"log{suffix}"
        with can.Logger(str(path)) as writer:
            for number in range(20):
                writer.on_message_received(
                    can.Message(
                        timestamp=1.0 + number / 100,
                        arbitration_id=256 + number % 2,
                        data=bytes(range(number % 9)),
                        is_extended_id=False,
                        channel=0,
                    )
                )
        return (path.read_bytes(),)


def run_bag(path: Path) -> None:
    from edge_agent.sources.ros2.source import open_ros2

    for _ in open_ros2(str(path)).samples():
        pass


@cache
def bags() -> tuple[bytes, ...]:
    from tests.edge_agent.sources.test_source_ros2 import drive_bag

    with tempfile.TemporaryDirectory() as folder:
        made = drive_bag(Path(folder), "mcap")
        return tuple(path.read_bytes() for path in sorted(made.glob("*.mcap")))


TARGETS = (
    Target("scan", lambda: [pcd("binary"), pcd("ascii"), b"b" + bytes(64)], run_scan),
    Target("can-frames", lambda: [bytes(range(200))], run_can),
    Target("can-dbc", dbc_seed, run_file=run_dbc, file_name="vehicle.dbc", slow=True,
           words=("BO_", "SG_", "VAL_", "|", "@", "(", ")", "m0", "M", "256", "1e999")),
    Target("can-map", can_map_seed, run_file=run_can_map, file_name="m.yaml", words=SPEC_WORDS),
    Target("can-asc", lambda: can_logs(".asc"), run_file=run_can_log, file_name="a.asc", slow=True,
           words=("Rx", "d", "begin", "triggerblock", "base hex", "x", "8")),
    Target("can-blf", lambda: can_logs(".blf"), run_file=run_can_log, file_name="a.blf", slow=True),
    Target("ros-bag", bags, run_file=run_bag, file_name="b.mcap", slow=True),
)  # fmt: skip
