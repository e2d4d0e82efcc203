"""The vehicle's motion is taken out of a sweep exactly, and a real one is sharper for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bench.points_sharpness import wall_disagreement_m
from contracts.errors import InputError
from contracts.geometry import apply_SE3, flat_SE3, inverse_SE3
from contracts.samples import Float64s
from offline.labels.argoverse import ArgoverseLog, read_log, read_sweep
from offline.labels.points.deskew import Trajectory, deskewed, skewed

START_NS = 1_700_000_000_000_000_000


def driving() -> Trajectory:
    """A second at 12 m/s through a bend, nodding; every 5 ms."""
    stamp = START_NS + np.arange(0, 1_000_000_001, 5_000_000)
    t = (stamp - START_NS) / 1e9
    poses = np.tile(np.eye(4), (t.size, 1, 1))
    turns = np.column_stack([0.4 * t, 0.01 * np.sin(9 * t), 0 * t])
    poses[:, :3, :3] = Rotation.from_euler("zyx", turns).as_matrix()
    poses[:, :3, 3] = np.column_stack([12 * t, 2 * t**2, 0 * t])
    return Trajectory(stamp, poses)


def test_what_stands_in_the_world_comes_out_where_it_stands() -> None:
    rng = np.random.default_rng(0)
    path = driving()
    world = rng.uniform(-40, 40, (500, 3))
    # Instants of known poses, so that nothing hangs on how poses between them are found.
    taken = path.stamp_ns[rng.integers(40, 60, 500)]
    seen = np.stack([
        apply_SE3(inverse_SE3(pose), point[None])[0]
        for pose, point in zip(path.at(taken), world, strict=True)
    ])  # fmt: skip
    stamp = int(path.stamp_ns[50])
    told = apply_SE3(path.at(np.array([stamp]))[0], deskewed(seen, taken, stamp, path))
    np.testing.assert_allclose(told, world, atol=1e-9)
    assert np.abs(apply_SE3(path.at(np.array([stamp]))[0], seen) - world).max() > 0.4


def test_skewing_undoes_deskewing() -> None:
    rng = np.random.default_rng(1)
    path = driving()
    points = rng.uniform(-40, 40, (300, 3))
    taken = START_NS + rng.integers(0, 1_000_000_000, 300)
    stamp = START_NS + 333_333_333
    there = skewed(points, taken, stamp, path)
    np.testing.assert_allclose(deskewed(there, taken, stamp, path), points, atol=1e-9)


def test_poses_between_known_ones_move_and_turn_evenly() -> None:
    path = Trajectory(
        np.array([START_NS, START_NS + 100]),
        np.stack([flat_SE3(0, 0, 0), flat_SE3(10, 4, np.pi / 2)]),
    )
    middle = path.at(np.array([START_NS + 25]))[0]
    np.testing.assert_allclose(middle, flat_SE3(2.5, 1, np.pi / 8), atol=1e-12)


def test_instants_without_poses_are_refused() -> None:
    with pytest.raises(InputError, match="poses cover"):
        driving().at(np.array([START_NS - 1]))
    with pytest.raises(InputError, match="does not rise"):
        Trajectory(np.array([1, 1]), np.tile(np.eye(4), (2, 1, 1)))


@pytest.fixture(scope="module")
def log(shared_data: Path) -> ArgoverseLog:
    return read_log(next((shared_data / "av2").iterdir()))


def test_two_lidars_agree_on_walls_once_the_motion_is_out(log: ArgoverseLog) -> None:
    frame, path = next(iter(log.sweep_files.items()))
    sweep, stamp = read_sweep(path), int(log.stamp_ns[frame])
    taken, other = stamp + sweep.offset_ns, log.covered(frame)
    upper = sweep.laser < 32

    def apart(points: Float64s) -> float:
        return wall_disagreement_m(points[upper & ~other], points[~upper & ~other])

    raw = skewed(sweep.xyz_m, taken, stamp, log.trajectory)
    clean = apart(deskewed(raw, taken, stamp, log.trajectory))
    assert clean < 0.7 * apart(raw)
    # Sweeps are published clean: taking the motion out once more spoils them.
    assert clean < 0.8 * apart(deskewed(sweep.xyz_m, taken, stamp, log.trajectory))
