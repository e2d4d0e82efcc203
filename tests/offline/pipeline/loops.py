"""A loop's file and a turn over clips that nobody opens."""

from __future__ import annotations

from pathlib import Path

import yaml

from contracts.ids import sha256_hex
from offline.pipeline.records import ClipRef, Turn
from offline.pipeline.spec import LoopSpec, read_spec

NAMES = ("pool", "truth", "old", "cal", "suite", "tails", "random", "run", "teacher")
DOCUMENT = {
    "apiVersion": "longtail/loop/v1", "name": "small",
    "ingest": {"folders": ["pool"]},
    "acquire": {"request": {"select": {"budget": 100, "seed": 1}}},
    "label": {"teacher": "teacher"}, "review": {"truth": "truth"},
    "train": {"start": "run", "replay": ["old"], "calibrate": ["cal"]},
    "evaluate": {"suite": "suite", "tails": ["tails"], "random": ["random"]},
    "rollout": {"to": "folder"},
}  # fmt: skip


def write_loop(folder: Path, **over: object) -> Path:
    """The loop's file with the folders that it names, a file in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "file").write_text(name)
    path = folder / "loop.yaml"
    path.write_text(yaml.safe_dump({**DOCUMENT, **over}))
    return path


def spec_of(folder: Path, **over: object) -> LoopSpec:
    return read_spec(write_loop(folder, **over))


def turn_of(folder: Path, clips: int = 3, after: str | None = None) -> Turn:
    refs = tuple(ClipRef(clip_id=sha256_hex(f"clip {n}".encode())) for n in range(clips))
    return Turn(spec=spec_of(folder / "files"), clips=refs, after=after, begun_utc_ns=5)
