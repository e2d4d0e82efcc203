"""Drives into nuScenes' tables and files. Pictures and sweeps pass through one at a time."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from contracts.ids import parse_name
from offline.labels.formats.files import write_whole
from offline.labels.formats.nuscenes.drive import DriveWriter
from offline.labels.formats.nuscenes.tables import Tables, token_of
from offline.labels.formats.nuscenes.words import ATTRIBUTES, CATEGORY_OF, VISIBILITIES
from offline.labels.formats.recording import read_recording
from offline.labels.formats.sensing import keyframes
from offline.labels.formats.sequence import CLIP_FILE, LabelSequence, LeftOut

VERSION, BESIDE = "v1.0-longtail", "longtail.json"
KEYFRAME_HZ = 2.0


@dataclass(slots=True)
class NuScenesExport:
    """What was written, and what was not."""

    frames: int = 0
    pictures: int = 0
    sweeps: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


def write_nuscenes(
    drives: Sequence[tuple[Path, LabelSequence]], out: Path, rate_hz: float = KEYFRAME_HZ
) -> NuScenesExport:
    """Write drives, each with its folder, into the database folder `out`.

    The tables come last and as a whole: a folder with tables is complete.

    Args:
        rate_hz: of keyframes; 0 makes one of every labelled instant.

    Raises `InputError` where there are tables already, and for what a drive lacks.
    """
    if (out / VERSION).exists():
        raise InputError("there is a database already", str(out / VERSION))
    tables, done = Tables(), NuScenesExport()
    _add_words(tables)
    told: list[dict[str, Any]] = []
    for folder, sequence in drives:
        recording = read_recording(folder / CLIP_FILE)
        keys = keyframes(sequence.instants(), rate_hz)
        done.left_out.add("labelled frame between keyframes", len(sequence.frames) - len(keys))
        name = parse_name(sequence.drive_id, str(folder))
        writer = DriveWriter(tables, recording, name, [sequence.frames[key] for key in keys], out)
        told.append(writer.write(done.left_out))
        done.frames += len(keys)
        done.pictures += writer.pictures
        done.sweeps += writer.sweeps
    _add_map(tables, out)
    tables.write(out / VERSION, {BESIDE: {"schema_version": 1, "drives": told}})
    return done


def _add_words(tables: Tables) -> None:
    for name, category in CATEGORY_OF.items():
        tables.add("category", token_of("category", category), name=category,
                   description=f"{name} of Longtail's taxonomy")  # fmt: skip
    for name, what in ATTRIBUTES.items():
        tables.add("attribute", token_of("attribute", name), name=name, description=what)
    for token, level in VISIBILITIES.items():
        share = level.removeprefix("v")
        tables.add("visibility", token, level=level, description=f"{share} % of it is in sight")


def _add_map(tables: Tables, out: Path) -> None:
    """A mask of one empty pixel: every log needs a map, and a clip has none."""
    logs = list(tables.rows["log"])
    token = token_of("map", *logs)
    name = f"maps/{token}.png"
    (out / "maps").mkdir(parents=True, exist_ok=True)
    write_whole(out / name, _empty_png())
    tables.add("map", token, category="semantic_prior", filename=name, log_tokens=logs)


def _empty_png() -> bytes:
    """One black pixel, 8 bits, grey."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0"))
        + chunk(b"IEND", b"")
    )  # fmt: skip
