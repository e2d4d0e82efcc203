"""Sensors against the oracle: what they report is where the truth says it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sim_fleet.classes import Kind, Shape
from sim_fleet.sensors.camera import CameraSpec, Picture, render
from sim_fleet.sensors.ground import GroundWindow
from sim_fleet.sensors.lidar import LidarSpec, Sweep, load_beams, sweep
from sim_fleet.sensors.mounts import NO_DRIFT, Drift, EgoMotion, Mount
from sim_fleet.sensors.radar import RadarSpec, tracks_of
from sim_fleet.sensors.surroundings import Surroundings, Surveyor
from sim_fleet.shapes.assemble import Scene
from sim_fleet.shapes.primitives import OWNER
from sim_fleet.world.actors import VX, Actors
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.oracle import FINE, OracleFrame, observe
from sim_fleet.world.world import NO_SCRIPTS, World
from tests.sim_fleet.support import actors_at, empty_map, surroundings

LIDAR = LidarSpec("top", load_beams("spin64"), Mount(1.2, 0.0, 1.9))
CAMERA = CameraSpec("front", 512, 256, 1.2, Mount(1.6, 0.0, 1.5))
CLEAR = Conditions()
Floats = NDArray[np.float64]


def swept(around: Surroundings, conditions: Conditions = CLEAR, drift: Drift = NO_DRIFT) -> Sweep:
    rng = np.random.default_rng(0)
    return sweep(LIDAR, around.scene, around.ground, around.ego, conditions, rng, 0, drift)


def shot(around: Surroundings, drift: Drift = NO_DRIFT) -> Picture:
    return render(CAMERA, around, np.random.default_rng(0), drift)


def truth_of(actors: Actors, around: Surroundings) -> OracleFrame:
    world = World(0.0, empty_map(), around.conditions, actors, NO_SCRIPTS)
    return observe(world, around.ego, around.scene, rays=FINE)


def owner_rows(scene: Scene, primitive: NDArray[np.int32]) -> NDArray[np.int64]:
    """Actor of each hit, -1 for none."""
    body = np.where(primitive >= 0, scene.codes[primitive, OWNER], -1)
    return np.where(body >= 0, scene.actor[body], -1)


def deskewed_ego(seen: Sweep, around: Surroundings, velocity: Floats) -> Floats:
    """Points [n, 3] in the ego frame at the sweep's end, own and actors' motion removed."""
    assert seen.sample.time_offset_ns is not None
    age = seen.sample.time_offset_ns / 1e9
    x, y, yaw = around.ego.poses(age)
    local = seen.sample.xyz_m + np.array([LIDAR.mount.x_m, LIDAR.mount.y_m, 0.0])
    cos, sin = np.cos(yaw), np.sin(yaw)
    world = np.stack([x + cos * local[:, 0] - sin * local[:, 1],
                      y + sin * local[:, 0] + cos * local[:, 1]], axis=1)  # fmt: skip
    world -= velocity * age[:, None]
    return np.column_stack([world, local[:, 2] + LIDAR.mount.z_m])


SCENE = (
    (Shape.CAR, 12.0, 3.0, 0.2), (Shape.TRUCK, 25.0, -6.0, -0.1),
    (Shape.PEDESTRIAN, 9.0, -4.0, 1.0), (Shape.CYCLIST, 14.0, 7.5, 2.0),
    (Shape.MOTORCYCLE, -9.0, 3.0, 0.5), (Shape.DEER, 11.0, -9.0, 2.0),
    (Shape.MATTRESS, 8.0, 0.5, 0.4), (Shape.WORKER, -7.0, -5.0, 0.0), (Shape.BUS, -20.0, 9.0, 0.3),
    (Shape.CONE, 6.0, -2.5, 0.0), (Shape.WHEELCHAIR_USER, 7.0, 4.5, 2.0),
    (Shape.STROLLER_PUSHER, -6.0, 5.5, 1.0), (Shape.BALL, 5.5, 1.6, 0.0),
)  # fmt: skip


@pytest.mark.parametrize(("speed", "yaw_rate"), [(0.0, 0.0), (15.0, 0.2)])
def test_boxes_contain_the_returns_of_their_actors(speed: float, yaw_rate: float) -> None:
    actors = actors_at(*SCENE)
    actors.floats[1:, VX] = 4.0 if speed else 0.0
    around = surroundings(actors, speed_mps=speed, yaw_rate=yaw_rate)
    seen, truth = swept(around), truth_of(actors, around)
    rows = owner_rows(around.scene, seen.primitive)
    points = deskewed_ego(seen, around, np.array([4.0 if speed else 0.0, 0.0]))
    for n in range(truth.kind.size):
        mine = points[rows == truth.row[n]]
        assert mine.shape[0] >= 3, Shape(truth.shape[n])
        cos, sin = np.cos(truth.yaw_ego_rad[n]), np.sin(truth.yaw_ego_rad[n])
        gap = mine - truth.centre_ego_m[n]
        along, across = cos * gap[:, 0] + sin * gap[:, 1], cos * gap[:, 1] - sin * gap[:, 0]
        over = np.abs(np.stack([along, across, gap[:, 2]])) - truth.size_m[n][:, None] / 2
        # Range noise, and arms, wheels and mirrors that reach a little out of the box.
        assert (over.max(axis=0) < 0.12).mean() > 0.97, Shape(truth.shape[n])
        assert over.max() < 0.35, Shape(truth.shape[n])


def test_camera_and_lidar_agree_within_a_pixel() -> None:
    around = surroundings(actors_at(*SCENE))
    seen, picture = swept(around), shot(around)
    points = deskewed_ego(seen, around, np.zeros(2))
    ego_SE3_camera = CAMERA.ego_SE3_camera()
    local = (points - ego_SE3_camera[:3, 3]) @ ego_SE3_camera[:3, :3]
    rows = owner_rows(around.scene, seen.primitive)
    ahead = (local[:, 2] > 2.0) & (rows >= 0)
    pixel = local[ahead] @ CAMERA.intrinsics().T
    u, v = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
    inside = (u > 2) & (u < CAMERA.width - 2) & (v > 2) & (v < CAMERA.height - 2)
    shown = owner_rows(around.scene, picture.hits.primitive)
    wanted = rows[ahead][inside]
    assert wanted.size > 1000
    near = np.zeros(wanted.size, dtype=bool)
    for du in (-1, 0, 1):
        for dv in (-1, 0, 1):
            near |= shown[(u[inside] + du).astype(int), (v[inside] + dv).astype(int)] == wanted
    # The lidar sits higher than the camera: it sees over things that hide others from it.
    assert near.mean() > 0.93


def test_the_hidden_have_no_visibility_and_no_returns() -> None:
    actors = actors_at((Shape.VAN, 9.0, 0.0, np.pi / 2), (Shape.PEDESTRIAN, 12.0, 0.5, 0.0),
                       (Shape.CAR, 30.0, 20.0, 0.0))  # fmt: skip
    around = surroundings(actors)
    truth = truth_of(actors, around)
    by_row = dict(zip(truth.row.tolist(), truth.visibility.tolist(), strict=True))
    assert by_row[1] > 0.99 and by_row[3] > 0.99
    assert by_row[2] == 0.0
    assert not (owner_rows(around.scene, swept(around).primitive) == 2).any()
    assert not (owner_rows(around.scene, shot(around).hits.primitive) == 2).any()


def test_half_hidden_is_about_half_visible() -> None:
    # Seen from (1.2, 0), the truck's rear edge cuts the car behind it about in the middle.
    actors = actors_at((Shape.TRUCK, 9.0, 5.0, np.pi / 2), (Shape.CAR, 18.0, 0.6, np.pi / 2))
    seen = truth_of(actors, surroundings(actors))
    assert 0.3 < float(seen.visibility[seen.row == 2][0]) < 0.8


def test_drift_moves_what_sensors_report_and_not_what_is_published() -> None:
    around = surroundings(actors_at((Shape.CAR, 15.0, 0.0, 0.0)))
    turned = Drift(yaw_rad=0.03)
    straight, drifted = swept(around), swept(around, drift=turned)

    def bearing(seen: Sweep) -> float:
        mine = owner_rows(around.scene, seen.primitive) == 1
        return float(np.arctan2(*seen.sample.xyz_m[mine, 1::-1].mean(axis=0)))

    assert bearing(drifted) - bearing(straight) == pytest.approx(-0.03, abs=0.004)
    columns = np.flatnonzero((owner_rows(around.scene, shot(around).hits.primitive) == 1).any(1))
    moved = np.flatnonzero(
        (owner_rows(around.scene, shot(around, turned).hits.primitive) == 1).any(axis=1)
    )
    # Turned left by 0.03 rad, the camera shows the car further right.
    assert moved.mean() - columns.mean() == pytest.approx(0.03 * CAMERA.focal_px, abs=1.5)


def test_pitch_shifts_the_picture_and_tilts_the_sweep() -> None:
    around = surroundings(actors_at((Shape.TRUCK, 14.0, 0.0, 0.0)))
    nose_down = Drift(pitch_rad=0.04)
    level, tilted = (shot(around, drift).pixels.mean(axis=2) for drift in (NO_DRIFT, nose_down))
    shift = round(0.04 * CAMERA.focal_px)
    # Nose down shows everything higher in the picture.
    apart = np.abs(tilted[20:150, 150:360] - level[20 + shift : 150 + shift, 150:360]).mean()
    assert apart < 0.35 * np.abs(tilted[20:150, 150:360] - level[20:150, 150:360]).mean()
    seen = swept(around, drift=nose_down)
    ground = seen.primitive == -1
    height = seen.sample.xyz_m[ground, 2] + 1.9
    ahead = seen.sample.xyz_m[ground, 0]
    # In the tilted sensor's frame the ground rises with distance ahead.
    assert np.polyfit(ahead, height, 1)[0] == pytest.approx(0.04, abs=0.006)


def test_rain_and_fog_cost_returns_and_bring_false_ones() -> None:
    actors = actors_at(*SCENE)
    counts, airborne = {}, {}
    for conditions in (CLEAR, Conditions("rain", rain_mm_h=8, visibility_m=800),
                       Conditions("fog", visibility_m=50)):  # fmt: skip
        seen = swept(surroundings(actors, conditions), conditions)
        counts[conditions.weather] = int((seen.primitive >= -1).sum())
        airborne[conditions.weather] = int((seen.primitive == -2).sum())
    assert counts["clear"] > counts["rain"] > counts["fog"] > 0
    assert airborne["clear"] == 0 and airborne["rain"] > 50 and airborne["fog"] > 500


def test_pictures_of_day_night_and_fog_differ_as_they_should() -> None:
    actors = actors_at((Shape.CAR, 12.0, 3.0, 0.0), (Shape.PEDESTRIAN, 45.0, 0.0, 0.0))
    shown = {
        conditions.tod + conditions.weather: shot(surroundings(actors, conditions)).pixels
        for conditions in (
            CLEAR, Conditions(tod="night"), Conditions("fog", visibility_m=40),
            Conditions(tod="glare", sun_azimuth_rad=0.0),
        )
    }  # fmt: skip
    mean = {name: float(pixels.mean()) for name, pixels in shown.items()}
    assert mean["nightclear"] < 0.6 * mean["dayclear"] < mean["glareclear"]
    contrast = {name: float(pixels[100:140].std()) for name, pixels in shown.items()}
    assert contrast["dayfog"] < 0.7 * contrast["dayclear"]


def test_radar_tells_range_rate() -> None:
    actors = actors_at((Shape.CAR, 40.0, 0.0, 0.0), (Shape.TRUCK, 60.0, 3.0, np.pi))
    actors.floats[1, VX], actors.floats[2, VX] = 10.0, -20.0
    around = surroundings(actors, speed_mps=25.0)
    truth, rng = truth_of(actors, around), np.random.default_rng(0)
    found = [tracks_of(RadarSpec(), truth, rng) for _ in range(200)]
    mine = np.concatenate([each[each[:, 0] == 1] for each in found])
    other = np.concatenate([each[each[:, 0] == 2] for each in found])
    assert 180 < mine.shape[0] < 200  # a few misses
    assert mine[:, 3].mean() == pytest.approx(15.0, abs=0.1)
    assert other[:, 3].mean() == pytest.approx(45.0, abs=0.2)
    ghosts = np.concatenate([each[each[:, 0] > 5000] for each in found])
    assert 0 < ghosts.shape[0] < 40


def test_the_oracle_tells_the_same_place_in_both_frames() -> None:
    actors = actors_at((Shape.CAR, 20.0, 5.0, 1.0))
    actors.floats[1, VX] = 3.0
    ego = EgoMotion(0.0, 4.0, -2.0, 0.7, 5.0, 0.0)
    truth = observe(World(0.0, empty_map(), CLEAR, actors, NO_SCRIPTS), ego, None)
    cos, sin = np.cos(0.7), np.sin(0.7)
    turned = np.array([[cos, -sin], [sin, cos]])
    back = turned @ truth.centre_ego_m[0, :2] + (4.0, -2.0)
    np.testing.assert_allclose(back, truth.centre_world_m[0, :2], atol=1e-12)
    np.testing.assert_allclose(turned @ truth.velocity_ego_mps[0], (3.0, 0.0), atol=1e-12)
    assert truth.yaw_ego_rad[0] == pytest.approx(0.3)
    assert truth.kind[0] == Kind.CAR and np.isnan(truth.visibility[0])


def test_drivable_ground_is_where_the_lanes_are() -> None:
    from sim_fleet.world.regions import region_map

    roads = region_map("city", 2)
    lane = int(np.flatnonzero(roads.lanes.connector == 0)[4])
    first, count = roads.lanes.first[lane], roads.lanes.count[lane]
    line = roads.lanes.points[first : first + count]
    ground: GroundWindow = Surveyor(roads, CLEAR).ground(line[0, 0], line[0, 1])
    assert ground.drivable(line[:, 0], line[:, 1]).all()
    aside = line[:, :2] + 5.5 * np.stack([np.sin(line[:, 2]), -np.cos(line[:, 2])], axis=1)
    assert not ground.drivable(aside[:, 0], aside[:, 1]).any()
