"""A real segment: values as recorded, edges where the recording has them, clear refusals."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import CorruptError, InputError
from contracts.samples import FixSample, PoseSample, RadarSample, Sample, SignalSample
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from edge_agent.sources import toyota_can
from edge_agent.sources.comma2k19 import find_segment
from edge_agent.sources.registry import open_source


@pytest.fixture(scope="module")
def segment(shared_data: Path) -> Path:
    return find_segment(shared_data / "comma2k19")


@pytest.fixture(scope="module")
def samples(segment: Path) -> list[Sample]:
    return list(open_source(f"comma2k19:{segment}").samples())


def column(samples: list[Sample], name: str) -> list[SignalSample]:
    return [s for s in samples if isinstance(s, SignalSample) and s.name == name]


def copy_of(segment: Path, folder: Path) -> Path:
    """A copy whose files may be damaged (the recording itself is read-only)."""
    target = folder / "route" / "1"
    shutil.copytree(segment, target, copy_function=shutil.copyfile)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def test_time_never_goes_back_and_every_signal_is_announced(
    segment: Path, samples: list[Sample]
) -> None:
    times = [sample.mono_ns for sample in samples]
    assert all(a <= b for a, b in itertools.pairwise(times))
    told = open_source(f"comma2k19:{segment}").describe()
    assert told.signals == {s.name for s in samples if isinstance(s, SignalSample)}
    assert told.signals <= SIGNAL_INDEX.keys()
    assert told.has_pose and told.has_radar and not told.has_plan


def test_values_are_the_recorded_ones(segment: Path, samples: list[Sample]) -> None:
    log = segment / "processed_log"
    for name, folder, pick in (
        ("ego.speed_mps", "CAN/speed", lambda v: v[:, 0]),
        ("ego.wheel_rl_mps", "CAN/wheel_speed", lambda v: v[:, 2]),
        ("ego.steering_angle_rad", "CAN/steering_angle", np.deg2rad),
        ("imu.accel_x_mps2", "IMU/accelerometer", lambda v: v[:, 0]),
        ("imu.accel_z_mps2", "IMU/accelerometer", lambda v: -v[:, 2]),
        ("imu.gyro_y_radps", "IMU/gyro", lambda v: -v[:, 1]),
        ("gnss.lat_deg", "GNSS/live_gnss_ublox", lambda v: v[:, 0]),
    ):
        found = column(samples, name)
        times, values = np.load(log / folder / "t"), np.load(log / folder / "value")
        assert [s.mono_ns for s in found] == [round(t * 1e9) for t in times.tolist()]
        np.testing.assert_array_equal([s.value for s in found], pick(values))


def test_every_value_lies_within_the_catalogue(samples: list[Sample]) -> None:
    for sample in samples:
        if isinstance(sample, SignalSample):
            signal = CATALOGUE[SIGNAL_INDEX[sample.name]]
            assert signal.low <= sample.value <= signal.high, sample


def test_engagement_rises_where_cruise_control_became_active(
    segment: Path, samples: list[Sample]
) -> None:
    start_s = float(np.load(segment / "processed_log/CAN/raw_can/t")[0])

    def edges(name: str) -> list[tuple[float, float]]:
        pairs = itertools.pairwise(column(samples, name))
        return [(b.mono_ns / 1e9 - start_s, b.value) for a, b in pairs if a.value != b.value]

    assert edges("autonomy.engaged") == [(pytest.approx(9.02, abs=0.1), 1.0)]
    assert edges("driver.gas_pressed") == [(pytest.approx(8.76, abs=0.02), 0.0)]
    assert edges("driver.brake_pressed") == []


def test_yaw_rate_agrees_with_the_gyroscope(samples: list[Sample]) -> None:
    yaw, gyro = column(samples, "ego.yaw_rate_radps"), column(samples, "imu.gyro_z_radps")
    turned = np.interp([s.mono_ns for s in yaw], [s.mono_ns for s in gyro], [s.value for s in gyro])
    window = np.ones(40) / 40
    a, b = (np.convolve(v, window, "valid") for v in ([s.value for s in yaw], turned))
    assert np.corrcoef(a, b)[0, 1] > 0.9


def test_pose_follows_speed_and_direction_of_travel(samples: list[Sample]) -> None:
    poses = [s for s in samples if isinstance(s, PoseSample)]
    position = np.array([p.position_m for p in poses])
    t_s = np.array([p.mono_ns for p in poses]) / 1e9
    np.testing.assert_allclose(position[0], 0, atol=1e-9)
    velocity = np.diff(position, axis=0) / np.diff(t_s)[:, None]
    wheel = column(samples, "ego.speed_mps")
    driven = np.interp(t_s[1:], [s.mono_ns / 1e9 for s in wheel], [s.value for s in wheel])
    assert abs(np.median(np.linalg.norm(velocity, axis=1) / driven) - 1) < 0.02
    for pose, moved in zip(poses[1::100], velocity[::100], strict=False):
        x, y, z, w = pose.orientation_xyzw
        forward = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)])
        assert forward @ moved / np.linalg.norm(moved) > 0.99


def test_radar_cycles_and_the_lead(segment: Path, samples: list[Sample]) -> None:
    cycles = [s for s in samples if isinstance(s, RadarSample)]
    raw = np.load(segment / "processed_log/CAN/radar/value")
    assert sum(c.tracks.shape[0] for c in cycles) == raw.shape[0]
    np.testing.assert_array_equal(
        np.concatenate([c.tracks for c in cycles]),
        np.stack([raw[:, 5], raw[:, 0], raw[:, 1], -raw[:, 2]], axis=1),
    )
    at = {c.mono_ns: c.tracks for c in cycles}
    leads = column(samples, "lead.distance_m")
    assert leads
    for lead in leads:
        tracks = at[lead.mono_ns]
        assert lead.value == tracks[np.abs(tracks[:, 2]) < 1.5, 1].min()


def test_wall_time_comes_from_the_receiver(segment: Path, samples: list[Sample]) -> None:
    told = open_source(f"comma2k19:{segment}").describe()
    fixes = [s for s in samples if isinstance(s, FixSample)]
    errors = [s.mono_ns + told.utc_minus_mono_ns - (s.utc_ns or 0) for s in fixes]
    assert max(map(abs, errors)) < 100_000_000
    assert told.clock.synchronised


def test_135_thousand_frames_decode_within_a_second(segment: Path) -> None:
    folder = segment / "processed_log/CAN/raw_can"
    t, src, address, content = (np.load(folder / n) for n in ("t", "src", "address", "data"))
    assert t.size > 135_000
    start = time.process_time()
    frames = toyota_can.frames_from_arrays((t * 1e9).astype(np.int64), src, address, content, "x")
    columns = toyota_can.decode(frames, "x")
    assert time.process_time() - start < 1.0
    assert sum(c.mono_ns.size for c in columns) > 10_000


def test_a_frame_of_broken_length_is_named(segment: Path, tmp_path: Path) -> None:
    copy = copy_of(segment, tmp_path)
    folder = copy / "processed_log/CAN/raw_can"
    address, bus, content = (np.load(folder / n) for n in ("address", "src", "data"))
    index = int(np.flatnonzero((address == 0x1D2) & (bus == 0))[7])
    content[index] = content[index][:4]
    with (folder / "data").open("wb") as file:
        np.save(file, content)
    with pytest.raises(InputError, match=rf"frame {index} .*0x1d2"):
        open_source(f"comma2k19:{copy}")
    longer = content.astype("S12")
    longer[index] = b"123456789012"
    with (folder / "data").open("wb") as file:
        np.save(file, longer)
    with pytest.raises(InputError, match=rf"frame {index} .* has 12 bytes"):
        open_source(f"comma2k19:{copy}")
    with (folder / "data").open("wb") as file:
        np.save(file, content[:-5])
    with pytest.raises(InputError, match=rf"frame {address.size - 5} is incomplete"):
        open_source(f"comma2k19:{copy}")


def test_damaged_and_pickled_arrays_are_refused(segment: Path, tmp_path: Path) -> None:
    copy = copy_of(segment, tmp_path)
    speed = copy / "processed_log/CAN/speed/value"
    whole = speed.read_bytes()
    speed.write_bytes(whole[:500])
    with pytest.raises(CorruptError, match="speed/value"):
        open_source(f"comma2k19:{copy}")
    with speed.open("wb") as file:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptError, match="speed/value"):
        open_source(f"comma2k19:{copy}")
    with speed.open("wb") as file:
        np.save(file, np.zeros((3, 1)))
    with pytest.raises(InputError, match=r"do not fit .* times"):
        open_source(f"comma2k19:{copy}")


def test_a_folder_without_or_with_two_segments_is_refused(segment: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="processed_log"):
        open_source(f"comma2k19:{tmp_path}")
    (tmp_path / "a" / "processed_log").mkdir(parents=True)
    (tmp_path / "b" / "processed_log").mkdir(parents=True)
    with pytest.raises(InputError, match="2 segments"):
        open_source(f"comma2k19:{tmp_path}")


def test_missing_streams_are_not_announced(segment: Path, tmp_path: Path) -> None:
    copy = copy_of(segment, tmp_path)
    shutil.rmtree(copy / "processed_log/CAN/radar")
    shutil.rmtree(copy / "processed_log/CAN/raw_can")
    shutil.rmtree(copy / "global_pose")
    told = open_source(f"comma2k19:{copy}").describe()
    assert not told.has_radar and not told.has_pose
    assert "lead.distance_m" not in told.signals and "autonomy.engaged" not in told.signals
    assert "ego.speed_mps" in told.signals
