"""No-record zones: distances against shapely, the guard's rule, and whole drives through one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.samples import FixSample, SignalSample
from edge_agent.redaction.geojson import parse_zones, read_zones
from edge_agent.redaction.zones import FASTEST_MPS, FIX_ERROR_M, ZoneGuard, Zones
from edge_agent.sources.registry import open_source
from edge_agent.spool.folder import CLIP_SUFFIX
from kernels.clip.reader import read_manifest, read_messages
from tests.edge_agent.agent_drives import PUBLISHED, driven, rule

M_PER_DEG = math.radians(6_371_008.8)
SQUARE = [[10.0, 50.0], [10.1, 50.0], [10.1, 50.1], [10.0, 50.1], [10.0, 50.0]]
HOLE = [[10.04, 50.04], [10.06, 50.04], [10.06, 50.06], [10.04, 50.06], [10.04, 50.04]]


def zone(*rings: list[list[float]], name: str = "") -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": list(rings)}
    return {"type": "Feature", "properties": {"name": name}, "geometry": geometry}


def test_every_shape_of_a_zone_is_read(tmp_path: Path) -> None:
    multi = {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [HOLE]]}
    everything = {"type": "FeatureCollection", "features": [zone(SQUARE, name="base"), multi]}
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps(everything))
    found = read_zones(path)
    assert [(p.name, len(p.rings)) for p in found] == [("base", 1), ("", 2), ("", 1)]
    assert found[0].rings[0].tolist() == SQUARE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "not 'Point'"),
        ({"type": "FeatureCollection", "features": []}, "no Polygon"),
        ({"type": "FeatureCollection"}, "'features' is no list"),
        (zone(SQUARE[:3]), "four corners"),
        (zone(SQUARE[:4]), "last corner is its first"),
        (zone([[200.0, 0], *SQUARE[1:]]), r"\[longitude, latitude\]"),
        (zone([[50.0, 91], *SQUARE[1:]]), r"\[longitude, latitude\]"),
        (zone([["a", 1], *SQUARE[1:]]), "is no position"),
        (zone([[True, False], *SQUARE[1:]]), "is no position"),
        (zone([[math.nan, 1], *SQUARE[1:]]), r"\[longitude, latitude\]"),
        (zone([[-179, 0], [179, 0], [179, 1], [-179, 0]]), "antimeridian"),
        ({"type": "Feature", "geometry": None}, "not None"),
        ([1, 2], "not None"),
        ({"type": "Polygon", "coordinates": []}, "list of rings"),
    ],
)
def test_what_is_no_zone_is_refused_with_its_place(content: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"z.json.*{said}"):
        parse_zones(content, "z.json")


def test_a_file_that_is_no_geojson_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zones.geojson"
    with pytest.raises(InputError, match="cannot be read"):
        read_zones(path)
    for text in ("{", "[" * 100_000, "\xff"):
        path.write_text(text, "latin-1")
        with pytest.raises(InputError):
            read_zones(path)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_distances_are_those_of_shapely(seed: int) -> None:
    """Random star-shaped zones, some with a hole, about a random place on Earth."""
    rng = np.random.default_rng(seed)
    lat, lon = float(rng.uniform(-65, 65)), float(rng.uniform(-179.9, 179.9))
    metres_east = M_PER_DEG * math.cos(math.radians(lat))

    def star(x: float, y: float, size: float) -> np.ndarray[Any, Any]:
        angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 12))))
        radii = size * rng.uniform(0.4, 1.0, len(angles))
        ring = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
        return np.concatenate([ring, ring[:1]])

    polygons, expected = [], math.inf
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(-5000, 5000, 2)
        size = float(rng.uniform(10, 4000))
        rings = [star(float(x), float(y), size)]
        if rng.random() < 0.3:
            rings.append(star(float(x), float(y), size * 0.1))
        shape = shapely.Polygon(rings[0])
        if len(rings) > 1:
            inner = shapely.Polygon(rings[1])
            if not (shape.is_valid and inner.is_valid and shape.contains(inner)):
                rings = rings[:1]
        shape = shapely.Polygon(rings[0], rings[1:])
        if not shape.is_valid:
            continue
        origin = shapely.Point(0, 0)
        away = shape.boundary.distance(origin)
        expected = min(expected, -away if shape.contains(origin) else away)
        degrees = [
            [[lon + px / metres_east, lat + py / M_PER_DEG] for px, py in ring.tolist()]
            for ring in rings
        ]
        if all(abs(c[0]) <= 180 for ring in degrees for c in ring):
            polygons.append(zone(*degrees))
        else:
            return
    if not polygons:
        return
    zones = Zones(parse_zones({"type": "FeatureCollection", "features": polygons}, "z"))
    found = zones.distance_m(lat, lon)
    # Of zones that overlap the depth is that of one of them: the sign is what matters.
    assert (found < 0) == (expected < 0)
    if expected > 0:
        assert found == pytest.approx(expected, abs=1e-3)


numbers = st.floats() | st.integers() | st.booleans()
keys = st.sampled_from(["type", "coordinates", "features", "geometry", "properties", "name"])
kinds = st.sampled_from(["Polygon", "MultiPolygon", "Feature", "FeatureCollection", "Point"])
anything = st.recursive(
    st.none() | numbers | kinds | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_whatever_is_read_is_a_zone_or_refused(content: Any) -> None:
    try:
        polygons = parse_zones(content, "z")
    except InputError:
        return
    assert all(ring.shape[1] == 2 for polygon in polygons for ring in polygon.rings)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(numbers, min_size=1, max_size=3), max_size=6), st.booleans())
def test_whatever_ring_is_read_is_one_or_refused(corners: list[list[float]], closed: bool) -> None:
    ring = [*corners, corners[0]] if closed and corners else corners
    try:
        (polygon,) = parse_zones({"type": "Polygon", "coordinates": [ring]}, "z")
    except InputError:
        return
    assert np.isfinite(Zones([polygon]).distance_m(10.0, 20.0))


def test_a_zone_behind_the_antimeridian_is_near() -> None:
    ring = [[179.9, 0.0], [180.0, 0.0], [180.0, 0.1], [179.9, 0.1], [179.9, 0.0]]
    zones = Zones(parse_zones(zone(ring), "z"))
    assert zones.distance_m(0.05, -179.999) == pytest.approx(0.001 * M_PER_DEG, rel=1e-3)
    assert zones.distance_m(0.05, 179.95) < 0
    assert Zones(()).distance_m(0, 0) == math.inf


def test_recording_needs_certainty() -> None:
    guard = ZoneGuard(parse_zones(zone(SQUARE), "z"), margin_m=50.0)
    assert guard.state(0).reason == "position_unknown"
    north_of = lambda metres: 50.1 + metres / M_PER_DEG  # noqa: E731
    guard.fix(0, north_of(1060.0 + FIX_ERROR_M - 10), 10.05)
    assert guard.state(0).recording
    # 1000 m of certainty are as many seconds as the fastest vehicle takes for them.
    assert guard.state(round(1000 / FASTEST_MPS * NS_PER_S) - NS_PER_S // 10).recording
    assert guard.state(round(1000 / FASTEST_MPS * NS_PER_S) + 1).reason == "near_zone"
    guard.fix(20 * NS_PER_S, north_of(55.0), 10.05)
    assert guard.state(20 * NS_PER_S).reason == "in_zone"  # within margin and a fix's error
    guard.fix(20 * NS_PER_S, north_of(150.0), 10.05)  # out again, but too near to go on at once
    assert guard.state(20 * NS_PER_S).reason == "near_zone"
    guard.fix(20 * NS_PER_S, north_of(250.0), 10.05)
    assert guard.state(20 * NS_PER_S).recording
    guard.fix(30 * NS_PER_S, north_of(-500.0), 10.05)
    assert guard.state(10**6 * NS_PER_S).reason == "in_zone"  # until a fix says otherwise


def test_a_known_speed_makes_certainty_last() -> None:
    """At 5 m/s, told every 100 ms, 1000 m last 200 s less what could be gained in between."""
    guard = ZoneGuard(parse_zones(zone(SQUARE), "z"), margin_m=0.0)
    guard.fix(0, 50.1 + (1000.0 + FIX_ERROR_M) / M_PER_DEG, 10.05)
    step_ns = NS_PER_S // 10
    lasted = 0
    while guard.state(lasted * step_ns).recording:
        guard.speed(lasted * step_ns, 5.0 if lasted % 7 else math.nan)
        lasted += 1
    assert 155 < lasted / 10 < 180
    # A silent speedometer is worth nothing: the vehicle may gain.
    guard.fix(0, 50.1 + (1000.0 + FIX_ERROR_M) / M_PER_DEG, 10.05)
    assert not guard.state(17 * NS_PER_S).recording


# Whole drives ----------------------------------------------------------------------------------

SIM = "sim:duration_s=40,lidar=0"


def path_of_drive() -> list[tuple[int, float, float]]:
    fixes = [s for s in open_source(SIM).samples() if isinstance(s, FixSample)]
    return [(f.mono_ns, f.lat_deg, f.lon_deg) for f in fixes]


def zone_about(lat: float, lon: float, radius_m: float) -> dict[str, Any]:
    dx = radius_m / M_PER_DEG / math.cos(math.radians(lat))
    dy = radius_m / M_PER_DEG
    return zone([[lon - dx, lat - dy], [lon + dx, lat - dy], [lon + dx, lat + dy],
                 [lon - dx, lat + dy], [lon - dx, lat - dy]])  # fmt: skip


def test_a_drive_through_a_zone_leaves_nothing_of_it(tmp_path: Path) -> None:
    fixes = path_of_drive()
    start_ns = fixes[0][0]
    within = [f for f in fixes if abs(f[0] - start_ns - 16 * NS_PER_S) <= NS_PER_S]
    at_ns, lat, lon = within[0]
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps(zone_about(lat, lon, 5.0)))
    spec = tmp_path / "always.yaml"
    spec.write_text(
        "apiVersion: longtail/v1\nkind: expression\nid: always\nversion: 1\nowner: tests\n"
        "when: ego.speed_mps >= 0\nmode: level\ncooldown: 6s\ncapture: {pre: 4s, post: 4s}\n"
    )
    report, _ = driven(
        tmp_path / "state", SIM, {}, specs=(spec,), budget={"clips_per_day": 1000},
        redaction={"zones": path, "zone_margin_m": 10.0},
    )  # fmt: skip
    reach_m = 5.0 * math.sqrt(2) + 10.0 + FIX_ERROR_M
    zones = Zones(read_zones(path))
    inside = {t for t, la, lo in fixes if zones.distance_m(la, lo) <= 10.0 + FIX_ERROR_M}
    assert at_ns in inside and reach_m > 0
    assert report.not_recorded["in_zone"] > 100
    assert report.not_recording == ""
    paths = [
        tmp_path / "state" / "spool" / "clips" / f"{c.clip_id}{CLIP_SUFFIX}" for c in report.clips
    ]
    clips = [(read_manifest(path), list(read_messages(path))) for path in paths]
    assert len(clips) >= 4, report.not_recorded
    times = {m.log_ns - clip.utc_minus_mono_ns for clip, messages in clips for m in messages}
    first, last = min(inside), max(inside)
    assert not [t for t in times if first < t <= last]
    # The cut is told: windows end before it or begin after it, with a line that says why.
    cut = [m for m, _ in clips if m.requested.end_mono_ns > first > m.actual.start_mono_ns]
    assert cut
    for manifest in cut:
        assert manifest.actual.end_mono_ns <= first
    told = [m for _, messages in clips for m in messages if b"no-record zone" in m.payload]
    assert any(b"recording stopped: near_zone" in m.payload for m in told)


def test_without_a_position_nothing_is_recorded(tmp_path: Path) -> None:
    """No fix, no certainty: a source that never tells where it is records nothing near a zone."""
    path = tmp_path / "zones.geojson"
    path.write_text(json.dumps(zone(SQUARE)))
    guard = ZoneGuard(read_zones(path), 0.0)
    assert guard.state(10**12).reason == "position_unknown"
    report, _ = driven(tmp_path / "far", SIM, {}, specs=(PUBLISHED,), redaction={"zones": path})
    # The simulated drive is far away from this one: only what came before its first fix is lost.
    assert 0 < report.not_recorded.get("position_unknown", 0) < 20
    assert report.clips


def test_two_signals_are_a_fix_too() -> None:
    from edge_agent.supervisor.intake import SupervisedDrive

    guard = ZoneGuard(parse_zones(zone(SQUARE), "z"), 0.0)
    feeding = SupervisedDrive.__new__(SupervisedDrive)
    feeding._lat = None
    for at_ns, name, value in (
        (1, "gnss.lat_deg", 50.05), (2, "gnss.lon_deg", 10.05),
        (3, "gnss.lat_deg", math.nan), (3, "gnss.lon_deg", 10.05),
    ):  # fmt: skip
        feeding._locate(guard, SignalSample(name, at_ns, value))
    assert guard.state(4).reason == "position_unknown"
    feeding._locate(guard, SignalSample("gnss.lat_deg", 5, 50.05))
    feeding._locate(guard, SignalSample("gnss.lon_deg", 5, 10.05))
    assert guard.state(6).reason == "in_zone"
    assert rule("x", "ego.speed_mps > 1").spec.id == "x"
