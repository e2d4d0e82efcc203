"""The signal log: size and speed of columns, against the same values as rows and as raw floats.

The values are what the published triggers saw of a drive at 50 Hz, as the agent logged them: of a
recorded one where that is at hand, else of a simulated one. The peers are zstd, at the same level,
over the same float64 tick by tick, over float32 (which loses digits; the log loses none) and over
JSON lines; the physical limit of writing is zstd over the values as they lie in memory.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zstandard

from bench.figures import Figure, figure, median_cpu_ns
from contracts.samples import Float64s
from contracts.signal_log import SIGNAL_LOG_SUFFIX
from edge_agent.app import run_agent
from edge_agent.config import AgentConfig
from kernels.signal_log import (
    LEVEL,
    SignalChunk,
    encode_chunk,
    encode_end,
    encode_header,
    read_chunks,
    read_header,
)

SIMULATED = "sim:seed=5,duration_s=60,camera=0,lidar=0"
SPECS = Path(__file__).parents[1] / "trigger_specs"
_REPETITIONS = 7


def run(
    recorded: Path | None = None, repetitions: int = _REPETITIONS, simulated: str = SIMULATED
) -> list[Figure]:
    """All figures, over the log of one drive.

    Args:
        recorded: folder with `comma2k19`, or None.
        simulated: the source that is driven where there is no recorded one.
    """
    found = recorded is not None and (recorded / "comma2k19").is_dir()
    with tempfile.TemporaryDirectory() as folder:
        path = logged(Path(folder), f"comma2k19:{recorded}/comma2k19" if found else simulated)
        content, header, chunks = path.read_bytes(), read_header(path), list(read_chunks(path))
    values = np.concatenate([chunk.values for chunk in chunks])
    seconds = (chunks[-1].now_ns[-1] - chunks[0].now_ns[0]) / 1e9
    raw = values.tobytes()
    halves = values.astype(np.float32).tobytes()
    rows = json_lines(values, header.signals)
    compressor = zstandard.ZstdCompressor(level=LEVEL)

    def write() -> bytes:
        ticks = sum(map(len, chunks))
        parts = [encode_header(header), *map(encode_chunk, chunks), encode_end(ticks)]
        return b"".join(parts)

    def read() -> list[SignalChunk]:
        return list(read_chunks(io.BytesIO(content)))

    spent = median_cpu_ns(
        {
            "write": write, "read": read, "zstd": lambda: compressor.compress(raw),
            "json": lambda: compressor.compress(json_lines(values, header.signals)),
        },
        repetitions,
    )  # fmt: skip
    kind = "recorded" if found else "simulated"
    name = f"{kind} drive of {seconds:.0f} s, {values.shape[1]} signals at 50 Hz"
    hour = 3600 / seconds / 1e6
    return [
        figure(f"{name}: size", hour * len(content), "MB/h",
               reference="zstd over float64, tick by tick",
               reference_value=hour * len(compressor.compress(raw)), goal="ratio <= 1"),
        figure(f"{name}: size, against float32", hour * len(content), "MB/h",
               reference="zstd over float32, tick by tick, digits lost",
               reference_value=hour * len(compressor.compress(halves))),
        figure(f"{name}: size, against JSON lines", hour * len(content), "MB/h",
               reference="zstd over JSON lines",
               reference_value=hour * len(compressor.compress(rows)), goal="ratio <= 1"),
        figure(f"{name}: values over file", len(raw) / len(content), "ratio"),
        figure(f"{name}: written", len(raw) / spent["write"], "GB/CPU-s",
               reference="zstd over the values as they lie in memory",
               reference_value=len(raw) / spent["zstd"]),
        figure(f"{name}: written, against JSON lines", len(raw) / spent["write"], "GB/CPU-s",
               reference="JSON lines through zstd", reference_value=len(raw) / spent["json"],
               goal="ratio >= 1"),
        figure(f"{name}: read", len(raw) / spent["read"], "GB/CPU-s"),
    ]  # fmt: skip


def logged(folder: Path, source: str) -> Path:
    """The one log of a drive through the agent."""
    config = AgentConfig.model_validate({"state": folder, "source": source, "specs": (SPECS,)})
    run_agent(config)
    (path,) = sorted((folder / "signals").glob(f"*{SIGNAL_LOG_SUFFIX}"))
    return path


def json_lines(values: Float64s, signals: Sequence[str]) -> bytes:
    """A line for each tick: the signals that are not absent, by name."""
    lines = (
        json.dumps({name: v for name, v in zip(signals, row, strict=True) if v == v})
        for row in values.tolist()
    )
    return "\n".join(lines).encode()
