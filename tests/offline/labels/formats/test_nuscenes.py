"""nuScenes: tables that hang together, geometry right in every frame, labels that return."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, apply_SE3, inverse_SE3, yaw_of
from contracts.samples import Float64s
from offline.labels.formats.folders import export_drives
from offline.labels.formats.nuscenes.reader import read_nuscenes
from offline.labels.formats.nuscenes.tables import TABLES, Tables, chain_from, read_tables
from offline.labels.formats.nuscenes.words import (
    CATEGORY_OF,
    CLASS_OF,
    attribute_of,
    category_of,
    channel_name,
    visibility_token,
)
from offline.labels.formats.nuscenes.writer import write_nuscenes
from offline.labels.formats.sensing import Placed, keyframes, placed
from tests.offline.labels.formats.drives import HUMAN, OFFSET_NS, assert_same
from tests.offline.labels.formats.moving import (
    EGO_SE3_LIDAR,
    INSTANTS,
    TWO_HZ,
    at_two_hz,
    sequence,
    static_points_m,
    write_moving_drive,
)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving_drive(tmp_path_factory.mktemp("drives") / "first")


@pytest.fixture(scope="module")
def database(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nuscenes")
    done = export_drives("nuscenes", [drive], out)
    assert (done.drives, done.frames, done.pictures) == (1, 4, 24)
    assert done.left_out.counts == {
        "labelled frame between keyframes": 12, "radar frame": 16,
        "ignored box (in longtail.json only)": 2,
    }  # fmt: skip
    return out


@pytest.fixture(scope="module")
def tables(database: Path) -> Tables:
    return read_tables(database / "v1.0-longtail")


def edited(database: Path, to: Path, table: str, change: Any) -> Path:
    """A copy of the tables with one changed."""
    folder = shutil.copytree(database / "v1.0-longtail", to / "v1.0-longtail")
    rows = json.loads((folder / f"{table}.json").read_text())
    change(rows)
    (folder / f"{table}.json").write_text(json.dumps(rows))
    return to


def matrix(row: dict[str, Any]) -> Float64s:
    """Of a row's translation and rotation, by other means than the code under test."""
    w, x, y, z = row["rotation"]
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
    pose[:3, 3] = row["translation"]
    return pose


def sensed(tables: Tables, channel: str) -> list[dict[str, Any]]:
    """Rows of a sensor's data in the order of time."""
    mine = []
    for row in tables.rows["sample_data"].values():
        mount = tables.rows["calibrated_sensor"][row["calibrated_sensor_token"]]
        if tables.rows["sensor"][mount["sensor_token"]]["channel"] == channel:
            mine.append(row)
    (first,) = [row for row in mine if not row["prev"]]
    chained = chain_from(tables.rows["sample_data"], first["token"])
    assert len(chained) == len(mine)
    return chained


def global_SE3_sensor(tables: Tables, row: dict[str, Any]) -> Float64s:
    pose = matrix(tables.rows["ego_pose"][row["ego_pose_token"]])
    return np.asarray(
        pose @ matrix(tables.rows["calibrated_sensor"][row["calibrated_sensor_token"]])
    )


def test_labels_come_back(database: Path) -> None:
    (back,), left_out = read_nuscenes(database)
    assert not left_out.counts
    assert_same(back, at_two_hz(sequence()))


def test_every_labelled_frame_can_be_a_keyframe(drive: Path, tmp_path: Path) -> None:
    done = write_nuscenes([(drive, sequence())], tmp_path, 0)
    assert "labelled frame between keyframes" not in done.left_out.counts
    (back,), _ = read_nuscenes(tmp_path)
    assert_same(back, sequence())


def test_the_same_drive_gives_the_same_bytes(drive: Path, database: Path, tmp_path: Path) -> None:
    write_nuscenes([(drive, sequence())], tmp_path)
    files = sorted(path.relative_to(database) for path in database.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert all((database / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)


def test_scene_and_samples(tables: Tables) -> None:
    (scene,) = tables.rows["scene"].values()
    assert (scene["name"], scene["nbr_samples"]) == ("drive-1", 4)
    assert scene["description"] == "any, region hill, weather rain"
    chained = chain_from(tables.rows["sample"], scene["first_sample_token"])
    assert [row["timestamp"] for row in chained] == [(i + OFFSET_NS) // 1000 for i in TWO_HZ]
    log = tables.rows["log"][scene["log_token"]]
    assert (log["vehicle"], log["location"], log["date_captured"]) == (
        "car-1",
        "hill",
        "2023-11-14",
    )


def test_what_is_between_keyframes_belongs_to_the_next(database: Path, tables: Tables) -> None:
    samples = {row["token"]: row["timestamp"] for row in tables.rows["sample"].values()}
    for channel, keys, all_of_it in (
        ("LIDAR_TOP", 4, 16), ("CAM_FRONT", 4, 16), ("CAM_BACK_LEFT", 4, 8),
    ):  # fmt: skip
        rows = sensed(tables, channel)
        assert (sum(row["is_key_frame"] for row in rows), len(rows)) == (keys, all_of_it)
        for row in rows:
            away = row["timestamp"] - samples[row["sample_token"]]
            last = row["sample_token"] == list(samples)[-1]
            assert abs(away) < 150_000 if row["is_key_frame"] else away < 0 or last
            folder = "samples" if row["is_key_frame"] else "sweeps"
            assert row["filename"].startswith(f"{folder}/{channel}/drive-1__{channel}__")
            assert (database / row["filename"]).is_file()


def test_sweeps_lie_on_what_stands_in_the_world(database: Path, tables: Tables) -> None:
    """Deskewed, by mount and pose, every point of every sweep is where it was made."""
    world = cKDTree(static_points_m())
    for row in sensed(tables, "LIDAR_TOP"):
        points = np.fromfile(database / row["filename"], np.float32).reshape(-1, 5)
        assert len(points) == len(static_points_m())
        assert points[:, 3].max() == 255 and set(points[:, 4]) == set(range(32))
        away, _ = world.query(apply_SE3(global_SE3_sensor(tables, row), points[:, :3]))
        assert np.max(away) < 0.02


def test_boxes_in_each_sensor_s_frame(tables: Tables) -> None:
    """What a user of nuScenes gets: the global box, by pose and mount, in the sensor's axes."""
    wanted = {f.record.mono_ns: f for f in sequence().frames}
    by_sample: dict[str, list[dict[str, Any]]] = {}
    for row in tables.rows["sample_annotation"].values():
        by_sample.setdefault(row["sample_token"], []).append(row)
    for row in sensed(tables, "LIDAR_TOP"):
        if not row["is_key_frame"]:
            continue
        instant = next(i for i in INSTANTS if (i + OFFSET_NS) // 1000 == row["timestamp"])
        labelled = [one for one in wanted[instant].record.boxes if not one.ignored]
        sensor_SE3_global = inverse_SE3(global_SE3_sensor(tables, row))
        assert len(by_sample[row["sample_token"]]) == len(labelled)
        for box, one in zip(by_sample[row["sample_token"]], labelled, strict=True):
            length, width, height = one.box.size_m
            assert box["size"] == [width, length, height]
            local = sensor_SE3_global @ matrix(box)
            expected = apply_SE3(inverse_SE3(EGO_SE3_LIDAR), np.array([one.box.centre_m]))[0]
            assert local[:3, 3] == pytest.approx(expected, abs=1e-6)
            assert yaw_of(EGO_SE3_LIDAR @ local) == pytest.approx(one.box.yaw_rad, abs=1e-6)


def test_instances_follow_tracks(tables: Tables) -> None:
    names = {token: row["name"] for token, row in tables.rows["category"].items()}
    found = {
        names[row["category_token"]]: row for row in tables.rows["instance"].values()
    }  # fmt: skip
    assert set(found) == {"vehicle.car", "human.pedestrian.adult"}
    chained = chain_from(
        tables.rows["sample_annotation"], found["vehicle.car"]["first_annotation_token"]
    )
    # It stands in the world, and 60 points are in it.
    assert np.ptp([row["translation"] for row in chained], axis=0) == pytest.approx(0, abs=1e-6)
    assert [row["num_lidar_pts"] for row in chained] == [60] * 4
    assert {row["visibility_token"] for row in chained} == {"3"}
    (attribute,) = tables.rows["sample_annotation"][
        found["human.pedestrian.adult"]["last_annotation_token"]
    ]["attribute_tokens"]
    assert tables.rows["attribute"][attribute]["name"] == "pedestrian.moving"


def test_what_somebody_edited_comes_back(database: Path, tmp_path: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["translation"][2] += 0.5
        rows[0]["size"] = [2.0, 5.0, 1.5]

    folder = edited(database, tmp_path, "sample_annotation", change)
    with pytest.raises(InputError, match=r"annotation\.json: [0-9a-f]{32}: .*--made-by"):
        read_nuscenes(folder)
    somebody = HUMAN.model_copy(update={"made_by": "bob"})
    (back,), _ = read_nuscenes(folder, somebody)
    car = back.frames[0].record.boxes[0]
    assert (car.box.size_m, car.confidence, car.visibility) == ((5.0, 2.0, 1.5), 1.0, 0.7)
    assert car.provenance == somebody
    assert back.frames[1:] == at_two_hz(sequence()).frames[1:]
    assert car.box.centre_m[2] > sequence().frames[0].record.boxes[0].box.centre_m[2] + 0.45

    def reclassed(rows: list[dict[str, Any]]) -> None:
        truck = next(r["token"] for r in categories if r["name"] == "vehicle.truck")
        for row in rows:
            row["category_token"] = truck

    categories = json.loads((database / "v1.0-longtail/category.json").read_text())
    again = edited(database, tmp_path / "again", "instance", reclassed)
    (back,), _ = read_nuscenes(again, HUMAN)
    assert {b.box.class_name for b in back.frames[0].record.boxes if not b.ignored} == {"truck"}


def test_anybody_s_database_can_be_read(database: Path, tmp_path: Path) -> None:
    """Without our own file: drives by scene, times by timestamp, tracks by instance."""

    def change(rows: list[dict[str, Any]]) -> None:
        rows[-1]["name"] = "movable_object.trafficcone"
        names = [row["name"] for row in rows]
        rows[names.index("human.pedestrian.adult")]["name"] = "static_object.bicycle_rack"

    folder = edited(database, tmp_path, "category", change)
    (folder / "v1.0-longtail/longtail.json").unlink()
    with pytest.raises(InputError, match=r"sample\.json: [0-9a-f]{32}: .*--made-by"):
        read_nuscenes(folder)
    late = edited(
        folder, tmp_path / "late", "ego_pose", lambda r: [x.update(timestamp=5) for x in r]
    )
    with pytest.raises(InputError, match=r"sample\.json: [0-9a-f]{32}: pose: .* s away"):
        read_nuscenes(late, HUMAN)
    (back,), left_out = read_nuscenes(folder, HUMAN)
    assert back.instants() == tuple((i + OFFSET_NS) // 1000 * 1000 for i in TWO_HZ)
    assert left_out.counts == {
        "object of a class that is not in the taxonomy: static_object.bicycle_rack": 2
    }
    for number, frame in enumerate(back.frames):
        (car,) = frame.record.boxes
        original = sequence().frames[number * 5].record
        assert car.box.centre_m == pytest.approx(original.boxes[0].box.centre_m, abs=1e-4)
        assert (car.box.track_id, car.points, car.visibility) == (0, 60, 0.7)
        assert car.provenance == HUMAN and frame.record.provenance == HUMAN
        assert frame.record.ego_pose is not None and original.ego_pose is not None
        assert frame.record.ego_pose.position_m == pytest.approx(original.ego_pose.position_m)


@pytest.mark.parametrize(
    ("table", "change", "why"),
    [
        ("sample", lambda r: r[1].update(prev=r[3]["token"]), r"sample\.json: \d: (next|prev)"),
        ("sample_data", lambda r: r[0].update(ego_pose_token="x"), r"0: ego_pose_token: no ego_po"),
        ("sample_annotation", lambda r: r.pop(), "instance.json|next|prev|annotation_token"),
        ("scene", lambda r: r[0].update(nbr_samples=9), r"nbr_samples: has 4 rows of sample"),
        ("map", lambda r: r[0].update(log_tokens=[]), r"map\.json: log .* has no map"),
        ("sensor", lambda r: r.append(r[0]), r"sensor\.json: 3: token .* is there twice"),
        ("visibility", lambda r: r.append({}), r"visibility\.json: 4: a row has a token"),
        ("sample_annotation", lambda r: r[0].update(size=[1, 2]), r"annotation\.json: 0: size"),
        ("sample_annotation", lambda r: r[0].update(rotation=[2, 0, 0, 0]), "has length 1"),
        ("sample_annotation", lambda r: r[0].update(size=[-1, 2, 3]), r"sample\.json: .*size_m"),
    ],
)  # fmt: skip
def test_damaged_tables_are_refused(
    database: Path, tmp_path: Path, table: str, change: Any, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        read_nuscenes(edited(database, tmp_path, table, change), HUMAN)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4), st.lists(st.integers(), max_size=5), st.just({}),
)  # fmt: skip


@settings(max_examples=80)
@given(data=st.data())
def test_whatever_stands_in_a_field_is_taken_or_refused(
    database: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """In any row of any table, or gone; with our file beside it and without."""
    table = data.draw(st.sampled_from(TABLES))

    def change(rows: list[dict[str, Any]]) -> None:
        row = data.draw(st.sampled_from(rows))
        field = data.draw(st.sampled_from(sorted(row)))
        if data.draw(st.booleans()):
            row[field] = data.draw(JUNK)
        else:
            del row[field]

    folder = edited(database, tmp_path_factory.mktemp("junk"), table, change)
    if data.draw(st.booleans()):
        (folder / "v1.0-longtail/longtail.json").unlink()
    with suppress(InputError):
        read_nuscenes(folder, HUMAN)


def test_no_tables(tmp_path: Path, database: Path) -> None:
    with pytest.raises(InputError, match=r"v1\.0-\* with tables is expected, there is none"):
        read_nuscenes(tmp_path)
    folder = edited(database, tmp_path, "log", lambda rows: None)
    (folder / "v1.0-longtail/sample.json").write_text("{}")
    with pytest.raises(InputError, match=r"sample\.json: a list of rows"):
        read_nuscenes(folder)


def test_which_frames_are_keyframes() -> None:
    tenths = [round(1e8 * n) for n in range(12)]
    assert keyframes(tenths, 2.0) == [0, 5, 10]
    assert keyframes([0, 90_000_000, 455_000_000, 1_000_000_000], 2.0) == [0, 2, 3]
    assert keyframes(tenths, 0) == list(range(12))
    with pytest.raises(InputError, match="--keyframe-hz"):
        keyframes(tenths, -1.0)


def test_which_message_shows_which_keyframe() -> None:
    ms = 1_000_000
    assert placed([0, 90 * ms, 210 * ms, 400 * ms, 900 * ms], [100 * ms, 200 * ms, 700 * ms]) == [
        Placed(0, False), Placed(0, True), Placed(1, True), Placed(2, False), Placed(2, False)
    ]  # fmt: skip
    # One message near two keyframes shows the nearer one only.
    assert placed([140 * ms], [100 * ms, 200 * ms]) == [Placed(0, True)]
    assert placed([], [0]) == []


def test_words() -> None:
    assert all(CLASS_OF[category] == name for name, category in CATEGORY_OF.items())
    assert set(TAXONOMY.names) == set(CATEGORY_OF)
    with pytest.raises(InputError, match="no category of 'tram'"):
        category_of("tram")
    assert channel_name("/camera/rear-left") == "CAM_BACK_LEFT"
    assert channel_name("/lidar/top") == "LIDAR_TOP"
    shares = (0.0, 0.39, 0.4, 0.6, 0.8, 1.0, None)
    assert [visibility_token(s) for s in shares] == ["1", "1", "2", "3", "4", "4", ""]
    walker = sequence().frames[1].record.boxes[2]
    rider = walker.model_copy(
        update={"box": walker.box.model_copy(update={"class_name": "cyclist"})}
    )
    assert attribute_of(walker) == "pedestrian.moving"
    assert attribute_of(rider) == "cycle.with_rider"
    assert attribute_of(sequence().frames[0].record.boxes[0]) is None
