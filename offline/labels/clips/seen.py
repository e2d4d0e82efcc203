"""What an ensemble said of a clip, instant by instant, before anything is made of it.

This is the slow part: half a second an instant and core. It can be kept as a file.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CorruptError
from contracts.geometry import BevGrid, Boxes, Int64s
from contracts.samples import Float32s, Float64s
from offline.labels.clips.instants import instants_of
from offline.labels.fusion.table import Detections, detections_of

if TYPE_CHECKING:  # torch is imported where a network runs, nowhere else
    from models.teacher.predict import TeacherView

Progress = Callable[[int, int], None]
"""Called after each instant: how many are seen, of how many."""
_TABLES = ("fused", "views")
_ARRAYS = ("mono_ns", "world_SE3_ego", "source", "ground", "light")
_BOX_COLUMNS = ("centre_m", "size_m", "yaw_rad", "velocity_mps", "class_index", "track_id")
_LEVELS = 255


@dataclass(frozen=True, slots=True)
class ClipSeen:
    """f instants: `mono_ns` int64 [f]; `world_SE3_ego` float64 [f, 4, 4]; `fused` boxes of the
    fused maps, by frame; `views` each view's and member's own, by frame, with `source` int64 [n]
    which of the `sources` it was; `ground` uint8 [f, 2, r, c] probabilities in 255ths over
    `grid`; `light` float32 [f, 4].
    """

    mono_ns: Int64s
    world_SE3_ego: Float64s
    fused: Detections
    views: Detections
    source: Int64s
    sources: int
    ground: NDArray[np.uint8]
    light: Float32s
    grid: BevGrid

    def __len__(self) -> int:
        return int(self.mono_ns.size)

    def counted(self, least: float, edge_m: float) -> Detections:
        """Fused boxes with scores of `least` or more that lie `edge_m` or more within the grid: at
        its edge is told what lies beyond it, but not where.
        """
        grid, centre = self.grid, self.fused.boxes.centre_m[:, :2]
        low = np.array([grid.x_min_m, grid.y_min_m]) + edge_m
        high = np.array([grid.x_max_m, grid.y_max_m]) - edge_m
        within = ((centre >= low) & (centre <= high)).all(axis=1)
        return self.fused.take(within & (self.fused.scores >= least))


def see_clip(
    clip: Path, view: TeacherView, threshold: float, progress: Progress = lambda done, of: None
) -> ClipSeen:
    """Look at all instants of a clip.

    Args:
        clip: the MCAP file.
        view: of the teacher.
        threshold: raw score from which on boxes are kept.
        progress: told of each instant.

    Raises `InputError` for a clip of which nothing can be labelled.
    """
    from models.data.drives import frames_at
    from models.teacher.boxes import TeacherBoxes

    config = view.teacher.config
    instants = instants_of(clip, config.ahead_s)
    decoder, classes = TeacherBoxes(config, threshold), len(config.taxonomy.classes)
    times = instants.mono_ns.tolist()
    fused, views, grounds, lights = [], [], [], []
    for done, frame in enumerate(frames_at(clip, times, config), start=1):
        opinions = view.opinions(frame)
        maps = view.fused(opinions)
        fused.append(decoder.fused(maps))
        views.append([one for member in decoder.by_view(opinions) for one in member])
        grounds.append(np.rint(maps.ground * _LEVELS).astype(np.uint8))
        lights.append(maps.light)
        progress(done, len(times))
    sources = len(views[0])
    by_source = detections_of([one for frame in views for one in frame], classes)
    at, source = np.divmod(by_source.group, sources)
    return ClipSeen(
        instants.mono_ns, instants.world_SE3_ego, detections_of(fused, classes),
        Detections(by_source.boxes, by_source.scores, by_source.distributions, at), source,
        sources, np.stack(grounds), np.stack(lights), config.grid,
    )  # fmt: skip


def write_seen(path: Path, seen: ClipSeen) -> None:
    """Keep what was seen; the file is there whole or not at all."""
    arrays = {name: getattr(seen, name) for name in _ARRAYS}
    for name in _TABLES:
        arrays |= {f"{name}.{key}": value for key, value in _columns(getattr(seen, name)).items()}
    partial = path.with_name(f".{path.name}")
    with partial.open("wb") as stream:
        np.savez_compressed(
            stream, allow_pickle=False, sources=np.array(seen.sources),
            grid=np.frombuffer(seen.grid.model_dump_json().encode(), np.uint8), **arrays,
        )  # fmt: skip
    partial.replace(path)


def read_seen(path: Path) -> ClipSeen:
    """Raises `CorruptError` for anything but a whole file of what was seen."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            fused, views = (_table(archive, name) for name in _TABLES)
            mono_ns, poses, source, ground, light = (archive[name] for name in _ARRAYS)
            grid = BevGrid.model_validate_json(archive["grid"].tobytes())
            return ClipSeen(
                mono_ns, poses, fused, views, source, int(archive["sources"]), ground, light, grid
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptError(f"this is not what was seen of a clip: {error}", str(path)) from error


def _columns(table: Detections) -> dict[str, NDArray[np.generic]]:
    boxes = {name: getattr(table.boxes, name) for name in _BOX_COLUMNS}
    return {
        **boxes, "scores": table.scores, "distributions": table.distributions,
        "group": table.group,
    }  # fmt: skip


def _table(archive: Mapping[str, NDArray[Any]], name: str) -> Detections:
    centre, size, yaw, velocity, kind, track = (
        archive[f"{name}.{column}"] for column in _BOX_COLUMNS
    )
    boxes = Boxes(centre, size, yaw, velocity, kind, track)
    rest = (archive[f"{name}.{column}"] for column in ("scores", "distributions", "group"))
    return Detections(boxes, *rest)
