"""What the lidar says about what the model saw: clusters that nothing explains, and detections
through which it looks. Pure but for the newest sweep, which it keeps.

The model's own boxes in the ego frame are compared where it gives them. A detector of pictures has
none: there a cluster is explained by a box that it projects into, and a box is looked through when
all of the lidar's returns in its middle lie further away than anything of that height in pixels
can be (no road user is taller than `TALLEST_M`).

A model that is fed by camera and lidar has both in every box, so that what it misses, both missed.
Its answer is checked all the same; an answer of the camera alone comes from a camera's model only.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.geometry import inverse_SE3
from contracts.samples import (
    CalibrationSample,
    Detection,
    Float64s,
    LidarSample,
    MountSample,
    PerceptionFrame,
)
from edge_agent.signals.boxes import cuboid_rows
from kernels.arrays import read_only
from kernels.obstacles import in_boxes, largest_in_path, obstacle_points
from kernels.sightlines import Int64s, by_sector, looked_through
from kernels.thin_air import SOLID, beams_per_sr, thin_air

EXPLAINS = 0.2
"""Probability from which a detection explains what lies in it."""
CLAIMS = 0.5
"""Probability from which the lidar must see something in a detection."""
HALF_WIDTH_M = 1.2
REACH_M = 50.0
TURN_RAD = 0.5
"""How far round a bend the path is looked along: nobody goes on turning as now for longer."""
CHECK_M = 35.0
MARGIN_M = 0.8
MAX_AGE_NS = 150_000_000
LEAST_THROUGH = 4
EMPTY_M = (5.0, 25.0)
"""Where a thing that the lidar looks at answers: nearer it may be below all beams, and what is
further and dark gives few returns.
"""
LEAST_EXPECTED = 8.0
_IN_THE_WAY = 0.05
"""Beams that something nearer stops, of those that the whole box would meet: its middle is a
quarter of it, and a fifth of that may be drops.
"""
SWEEP_S = 0.1
TALLEST_M = 4.2
_LEAST_HEIGHT_PX = 12.0
_MOST_BEAMS = 60_000


_Sweeps = list[tuple[LidarSample, Float64s]]
"""With the poses of their sensors in the ego frame."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A sweep as boxes are held against it: returns by direction, and their density."""

    pose: Float64s
    returns: Float64s
    first: Int64s
    beams_per_sr: float


class LidarCheck:
    """The newest sweep of each lidar against the model's frames.

    What needs nothing of the model may be begun in a thread, which works while the model runs:
    `begin_unexplained` and `begin_missed`, taken up by the questions of the same instant.
    """

    def __init__(self) -> None:
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="lidar-check")
        self._ahead: tuple[tuple[int, float, float], Future[list[Float64s]]] | None = None
        self._looks: tuple[_Sweeps, Future[list[_Look]]] | None = None
        self._sweeps: dict[str, LidarSample] = {}
        self._mounts: dict[str, Float64s] = {}
        self._cameras: dict[str, CalibrationSample] = {}

    def see(self, sample: LidarSample | MountSample | CalibrationSample) -> None:
        match sample:
            case LidarSample():
                self._sweeps[sample.channel] = sample
            case MountSample():
                self._mounts[sample.frame_id] = sample.ego_SE3_sensor
            case CalibrationSample():
                self._cameras[sample.channel] = sample

    def begin_unexplained(self, now_ns: int, speed_mps: float, yaw_rate_radps: float) -> None:
        """Begin to look for what stands in the path of this motion."""
        sweeps = self._near(now_ns)
        bend, reach_m = _path(speed_mps, yaw_rate_radps)
        task = self._beside.submit(_all_standing, sweeps, bend, HALF_WIDTH_M, reach_m)
        self._ahead = (now_ns, speed_mps, yaw_rate_radps), task

    def begin_missed(self, now_ns: int) -> None:
        """Begin to sort the returns by their directions."""
        sweeps = self._near(now_ns)
        self._looks = sweeps, self._beside.submit(_all_looks, sweeps)

    def unexplained(
        self,
        frame: PerceptionFrame,
        speed_mps: float,
        yaw_rate_radps: float,
        half_width_m: float = HALF_WIDTH_M,
    ) -> tuple[int, float] | None:
        """Returns and distance (m) of the largest cluster in the path that nothing explains; (0,
        inf) when all is explained, None without a sweep of about that time.

        The path bends as the ego turns, and ends where it would have turned by `TURN_RAD`.
        """
        bend, reach_m = _path(speed_mps, yaw_rate_radps)
        ahead, self._ahead = self._ahead, None
        asked = (frame.mono_ns, speed_mps, yaw_rate_radps)
        if ahead is not None and ahead[0] == asked and half_width_m == HALF_WIDTH_M:
            clouds = ahead[1].result()
        else:
            clouds = _all_standing(self._near(frame.mono_ns), bend, half_width_m, reach_m)
        if not clouds:
            return None
        points = np.concatenate(clouds)
        seen = [d for d in frame.detections if d.probability >= EXPLAINS]
        skip = in_boxes(points, cuboid_rows(seen), MARGIN_M + _slack_m(seen, speed_mps))
        camera = self._cameras.get(frame.channel)
        if camera is not None:
            skip |= _in_pictures(points, [d for d in seen if d.cuboid is None], camera)
        count, away = largest_in_path(points, skip, bend, half_width_m, reach_m)
        return int(count), float(away)

    def missed(self, frame: PerceptionFrame, speed_mps: float) -> tuple[int, int] | None:
        """(detections looked through, detections judged); None without a sweep of about then."""
        sweeps = self._near(frame.mono_ns)
        if not sweeps:
            return None
        claimed = [d for d in frame.detections if d.probability >= CLAIMS]
        flat = [d for d in claimed if d.cuboid is None and d.box_px is not None]
        boxes, slack_m = cuboid_rows(claimed), _slack_m(claimed, speed_mps)
        near = np.hypot(boxes[:, 0], boxes[:, 1]) < CHECK_M
        boxes, margin_m = boxes[near], 0.4 + slack_m[near]
        counts = np.zeros((4, len(boxes)), np.int64)
        expected = np.zeros(len(boxes))
        for look in self._looks_of(sweeps):
            counts += looked_through(look.returns, look.first, look.pose, boxes, margin_m)
            expected += _expected(boxes, look.pose, look.beams_per_sr)
        inside, through, before, looked = counts
        # Drops in the air are no thing, and from behind on a wet road nothing comes back.
        passed = (inside < SOLID * through) & (through >= LEAST_THROUGH)
        empty = (
            (inside < SOLID * expected) & (expected >= LEAST_EXPECTED)
            & (before < _IN_THE_WAY * expected) & (looked >= LEAST_THROUGH)
        )  # fmt: skip
        missed = passed | empty
        judged = (inside > 0) | missed
        camera = self._cameras.get(frame.channel)
        more = [0, 0]
        if camera is not None and flat:
            points = np.concatenate([_in_ego(sweep, pose) for sweep, pose in sweeps])
            more = _flat_missed(points, flat, camera)
        return int(missed.sum()) + more[0], int(judged.sum()) + more[1]

    def _looks_of(self, sweeps: _Sweeps) -> list[_Look]:
        begun, self._looks = self._looks, None
        if begun is not None and len(begun[0]) == len(sweeps):
            pairs = zip(begun[0], sweeps, strict=True)
            if all(a[0] is b[0] and a[1] is b[1] for a, b in pairs):
                return begun[1].result()
        return _all_looks(sweeps)

    def _near(self, now_ns: int) -> _Sweeps:
        return [
            (sweep, self._mounts[sweep.frame_id])
            for sweep in self._sweeps.values()
            if abs(now_ns - sweep.mono_ns) <= MAX_AGE_NS and sweep.frame_id in self._mounts
        ]


def _slack_m(detections: list[Detection], speed_mps: float) -> Float64s:
    """How far each box and the vehicle move against each other during a sweep, which is not undone
    in its points: float64 [k, 2] along the box and across it.
    """
    rows = []
    for detection in detections:
        if detection.cuboid is not None:
            vx, vy = detection.cuboid.velocity_mps
            cos, sin = np.cos(detection.cuboid.yaw_rad), np.sin(detection.cuboid.yaw_rad)
            vx -= speed_mps
            rows.append((abs(cos * vx + sin * vy), abs(-sin * vx + cos * vy)))
    return SWEEP_S * np.array(rows, np.float64).reshape(-1, 2)


def _path(speed_mps: float, yaw_rate_radps: float) -> tuple[float, float]:
    """Bend (1/m) and reach (m) of the way ahead."""
    bend = float(np.clip(yaw_rate_radps / max(speed_mps, 2.0), -0.1, 0.1))
    return bend, min(REACH_M, TURN_RAD / max(abs(bend), 1e-6))


def _all_standing(
    sweeps: _Sweeps, bend: float, half_width_m: float, reach_m: float
) -> list[Float64s]:
    return [_standing(sweep, pose, bend, half_width_m, reach_m) for sweep, pose in sweeps]


def _all_looks(sweeps: _Sweeps) -> list[_Look]:
    looks = []
    for sweep, pose in sweeps:
        step = max(1, len(sweep.xyz_m) // _MOST_BEAMS)
        xyz_m = read_only(sweep.xyz_m)
        density = beams_per_sr(xyz_m, pose, step) / step
        looks.append(_Look(pose, *by_sector(xyz_m, pose, step), density))
    return looks


def _expected(boxes: Float64s, pose: Float64s, beams_per_sr: float) -> Float64s:
    """Returns [k] that a thing of each box's narrowest side would give; 0 outside of `EMPTY_M`."""
    away_m = np.hypot(boxes[:, 0] - pose[0, 3], boxes[:, 1] - pose[1, 3])
    side_m2 = np.minimum(boxes[:, 3], boxes[:, 4]) * boxes[:, 5]
    met = beams_per_sr * side_m2 / np.maximum(away_m, 1.0) ** 2
    return np.where((away_m > EMPTY_M[0]) & (away_m < EMPTY_M[1]), met, 0.0)


def _standing(
    sweep: LidarSample, pose: Float64s, bend: float, half_width_m: float, reach_m: float
) -> Float64s:
    """Returns of a sweep that stand in the path, less those of fog, rain and snow."""
    points = obstacle_points(sweep.xyz_m, pose, bend, half_width_m, reach_m)
    if not len(points):
        return points
    xyz_m = read_only(sweep.xyz_m)
    density = beams_per_sr(xyz_m, pose, max(1, len(xyz_m) // _MOST_BEAMS))
    eye_m = float(pose[0, 3]), float(pose[1, 3])
    return points[~thin_air(points, density, eye_m, bend, half_width_m, reach_m)]


def _in_ego(sweep: LidarSample, pose: Float64s) -> Float64s:
    step = max(1, len(sweep.xyz_m) // _MOST_BEAMS)
    return np.asarray(sweep.xyz_m[::step].astype(np.float64) @ pose[:3, :3].T + pose[:3, 3])


def _seen_from(points: Float64s, camera: CalibrationSample) -> tuple[Float64s, Float64s]:
    """Pixels [n, 2], and depth [n], which is not above 0 behind the camera."""
    to_camera = inverse_SE3(camera.ego_SE3_camera)
    local = points @ to_camera[:3, :3].T + to_camera[:3, 3]
    depth = local[:, 2]
    rays = local @ camera.intrinsics.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(rays[:, :2] / rays[:, 2:]), np.asarray(depth)


def _in_pictures(
    points: Float64s, detections: list[Detection], camera: CalibrationSample
) -> NDArray[np.bool_]:
    """Which points lie in any box of the picture, grown by a tenth."""
    inside = np.zeros(len(points), np.bool_)
    if not detections:
        return inside
    pixels, depth = _seen_from(points, camera)
    for detection in detections:
        x0, y0, x1, y1 = detection.box_px or (0.0, 0.0, 0.0, 0.0)
        wide, high = 0.1 * (x1 - x0), 0.1 * (y1 - y0)
        inside |= (
            (depth > 0) & (pixels[:, 0] >= x0 - wide) & (pixels[:, 0] <= x1 + wide)
            & (pixels[:, 1] >= y0 - high) & (pixels[:, 1] <= y1 + high)
        )  # fmt: skip
    return inside


def _flat_missed(
    points: Float64s, detections: list[Detection], camera: CalibrationSample
) -> list[int]:
    """[looked through, judged] of boxes in a picture."""
    pixels, depth = _seen_from(points, camera)
    counts = [0, 0]
    for detection in detections:
        x0, y0, x1, y1 = detection.box_px or (0.0, 0.0, 0.0, 0.0)
        if y1 - y0 < _LEAST_HEIGHT_PX:
            continue
        furthest = float(camera.intrinsics[1, 1]) * TALLEST_M / (y1 - y0)
        if furthest > CHECK_M:
            continue  # it may be too far for returns: nothing can be said
        middle_x, middle_y = 0.25 * (x1 - x0), 0.25 * (y1 - y0)
        within = (
            (depth > 0) & (pixels[:, 0] > x0 + middle_x) & (pixels[:, 0] < x1 - middle_x)
            & (pixels[:, 1] > y0 + middle_y) & (pixels[:, 1] < y1 - middle_y)
        )  # fmt: skip
        if int(within.sum()) < LEAST_THROUGH:
            continue
        counts[1] += 1
        counts[0] += bool((depth[within] > 1.2 * furthest).all())
    return counts
