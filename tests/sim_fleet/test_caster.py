"""The ray caster gives what plain geometry gives, for any solids and any rays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plain_caster import cast_plainly
from bench.sim import street
from sim_fleet.sensors.caster import GROUND, NOTHING, Columns, cast
from sim_fleet.sensors.lidar import lidar_columns
from sim_fleet.sensors.mounts import NO_DRIFT
from sim_fleet.sensors.rig import sensor_rig
from sim_fleet.shapes.assemble import Scene
from sim_fleet.shapes.primitives import (
    BOX,
    CODE_COLUMNS,
    COS,
    CX,
    CY,
    CYLINDER,
    FRUSTUM,
    HX,
    HY,
    SIN,
    SPAN,
    SX,
    TX,
    TY,
    VALUE_COLUMNS,
    Z0,
    Z1,
)


def scattered(seed: int, count: int) -> Scene:
    """Random solids, each a body of its own."""
    rng = np.random.default_rng(seed)
    values = np.zeros((count, VALUE_COLUMNS))
    codes = np.zeros((count, CODE_COLUMNS), dtype=np.int64)
    codes[:, 0] = rng.integers(0, 3, count)
    codes[:, 2] = np.arange(count)
    yaw = rng.uniform(-np.pi, np.pi, count)
    values[:, [CX, CY]] = rng.uniform(-30, 30, (count, 2))
    values[:, COS], values[:, SIN] = np.cos(yaw), np.sin(yaw)
    values[:, [HX, HY]] = rng.uniform(0.2, 4, (count, 2))
    values[:, Z0] = rng.choice((0.0, 0.5, 2.5), count)
    values[:, Z1] = values[:, Z0] + rng.uniform(0.3, 4, count)
    values[:, [TX, TY]] = values[:, [HX, HY]]
    slanted = codes[:, 0] == FRUSTUM
    values[slanted, TX] *= rng.uniform(0.1, 1.3, slanted.sum())
    values[slanted, TY] *= rng.uniform(0.1, 1.3, slanted.sum())
    values[slanted, SX] = rng.uniform(-1, 1, slanted.sum())
    values[codes[:, 0] == CYLINDER, HY] = values[codes[:, 0] == CYLINDER, HX]
    wide = np.maximum(values[:, HX], np.abs(values[:, SX]) + values[:, TX])
    across = np.maximum(values[:, HY], values[:, TY])
    values[:, SPAN] = np.where(codes[:, 0] == CYLINDER, values[:, HX], np.hypot(wide, across))
    bounds = np.column_stack(
        [values[:, [CX, CY]], values[:, SPAN], values[:, [Z0, Z1]], np.zeros((count, 3))]
    )
    rows = np.arange(count, dtype=np.int64)
    return Scene(values, codes, bounds, rows, np.ones_like(rows), np.zeros_like(rows), rows)


def fan(x: float, y: float, z: float, columns: int = 90, rays: int = 24) -> Columns:
    azimuth = np.linspace(-np.pi, np.pi, columns, endpoint=False) + 0.013
    slopes = np.tan(np.linspace(0.6, -0.9, rays))
    return Columns(
        np.tile([x, y, z], (columns, 1)),
        np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1),
        np.tile(slopes, (columns, 1)),
        np.zeros(columns),
    )


@settings(max_examples=40)
@given(
    st.integers(0, 10_000), st.integers(1, 25), st.floats(-20, 20), st.floats(-20, 20),
    st.floats(0.3, 5),
)  # fmt: skip
def test_it_agrees_with_plain_geometry(seed: int, count: int, x: float, y: float, z: float) -> None:
    scene, columns = scattered(seed, count), fan(x, y, z)
    away = np.hypot(scene.bounds[:, 0] - x, scene.bounds[:, 1] - y)
    outside = np.flatnonzero(away > scene.bounds[:, 2] + 0.1)  # a sensor is never inside a thing
    if not outside.size:
        return
    from sim_fleet.shapes.assemble import subset

    scene = subset(scene, outside)
    hits = cast(scene, columns, 60.0)
    flat, found = cast_plainly(scene, columns, 60.0)
    np.testing.assert_allclose(hits.flat_m, flat, atol=2e-4, rtol=2e-5)
    # At an edge where two solids are equally far, either may be told.
    tied = np.isclose(hits.flat_m, flat, atol=2e-4)
    assert ((hits.primitive == found) | tied).all()
    assert (hits.primitive == found).mean() > 0.995


def test_a_whole_street_agrees_with_plain_geometry() -> None:
    around = street()
    columns = lidar_columns(sensor_rig("s").lidars[0], around.ego, NO_DRIFT)
    some = Columns(*(part[::64] for part in (columns.origin_m, columns.toward, columns.slopes,
                                             columns.age_s)))  # fmt: skip
    scene = around.scene
    still = Scene(scene.values, scene.codes, np.column_stack([scene.bounds[:, :5],
                  np.zeros((scene.first.size, 3))]), scene.first, scene.count, scene.lamps,
                  scene.actor)  # fmt: skip
    hits = cast(still, some, 80.0, slack_m=3.0)
    flat, found = cast_plainly(still, some, 80.0)
    np.testing.assert_allclose(hits.flat_m, flat, atol=1e-3, rtol=1e-4)
    assert (found >= 0).mean() > 0.2
    assert (found == GROUND).mean() > 0.2
    assert (hits.primitive == found).mean() > 0.995


def test_nothing_and_ground() -> None:
    scene = scattered(1, 1)
    scene.bounds[:, 0] = scene.values[:, CX] = 500.0
    hits = cast(scene, fan(0, 0, 1.5), 50.0)
    slopes = fan(0, 0, 1.5).slopes
    assert (hits.primitive[slopes >= 0] == NOTHING).all()
    down = (slopes < 0) & (1.5 / -slopes < 50)
    assert (hits.primitive[down] == GROUND).all()
    np.testing.assert_allclose(hits.flat_m[down], (1.5 / -slopes)[down], rtol=1e-5)


def test_a_moving_body_is_met_where_it_then_was() -> None:
    scene = scattered(3, 1)
    scene.codes[:, 0] = BOX
    scene.values[0, [CX, CY, COS, SIN, HX, HY, Z0, Z1]] = 20, 0, 1, 0, 1, 4, 0, 3
    scene.values[0, SPAN] = np.hypot(1, 4)
    scene.bounds[0] = 20, 0, np.hypot(1, 4), 0, 3, 10, 0, 0
    level = Columns(np.array([[0, 0, 1.0]] * 2), np.array([[1.0, 0.0]] * 2), np.zeros((2, 1)),
                    np.array([0.0, -0.1]))  # fmt: skip
    hits = cast(scene, level, 60.0, slack_m=2.0)
    np.testing.assert_allclose(hits.flat_m[:, 0], [19.0, 18.0], atol=1e-5)
