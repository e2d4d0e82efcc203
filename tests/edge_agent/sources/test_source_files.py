"""KITTI folders, lidar scan files, PNG structure, and the registry's answers."""

from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contracts.errors import CorruptError, InputError, LongtailError
from contracts.samples import CalibrationSample, ImageSample, LidarSample, Sample
from edge_agent.sources.lidar_files import read_scan
from edge_agent.sources.png_header import png_chunks, png_header
from edge_agent.sources.registry import open_source


def png_bytes(width: int = 8, height: int = 6) -> bytes:
    out = io.BytesIO()
    pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def kitti_folder(path: Path, frames: int = 3) -> Path:
    images, scans = path / "image_02" / "data", path / "velodyne_points" / "data"
    images.mkdir(parents=True)
    scans.mkdir(parents=True)
    for i in range(frames):
        (images / f"{i:010}.png").write_bytes(png_bytes())
        np.full((5 + i, 4), 0.5, dtype="<f4").tofile(scans / f"{i:010}.bin")
    return path


def test_recorded_images_pass_through(shared_data: Path) -> None:
    source = open_source(f"kitti:{shared_data / 'kitti_approach78'}")
    told = source.describe()
    assert told.camera_channels == ("/camera/image_02",) and told.signals == frozenset()
    files = sorted((shared_data / "kitti_approach78/image_02/data").glob("*.png"))
    images = list(source.samples())
    assert len(images) == len(files) == 78
    for i, (image, path) in enumerate(zip(images, files, strict=True)):
        assert isinstance(image, ImageSample)
        assert image.mono_ns == i * 100_000_000
        assert (image.encoding, image.width, image.height) == ("png", 1242, 375)
        assert bytes(image.content) == path.read_bytes()


def test_recorded_scans_are_whole(shared_data: Path) -> None:
    source = open_source(f"kitti:{shared_data / 'kitti_tracking'}")
    scans = list(itertools.islice(source.samples(), 3))
    for scan in scans:
        assert isinstance(scan, LidarSample)
        assert scan.xyz_m.shape[0] > 100_000 and scan.xyz_m.dtype == np.float32
        assert scan.intensity.dtype == np.uint8 and scan.intensity.max() > 200
        assert 60 < np.abs(scan.xyz_m).max() < 130
    first = sorted((shared_data / "kitti_tracking/velodyne_0000").glob("*.pcd"))[0]
    body = first.read_bytes().split(b"DATA binary\n", 1)[1]
    assert isinstance(scans[0], LidarSample)
    np.testing.assert_array_equal(
        scans[0].xyz_m,
        np.frombuffer(body, "<f4", scans[0].xyz_m.shape[0] * 4).reshape(-1, 4)[:, :3],
    )


def test_images_and_scans_share_their_instants(tmp_path: Path) -> None:
    source = open_source(f"kitti:{kitti_folder(tmp_path)}")
    told = source.describe()
    assert told.camera_channels == ("/camera/image_02",)
    assert told.lidar_channels == ("/lidar/top",) and not told.clock.synchronised
    kinds = [(type(s).__name__, s.mono_ns // 100_000_000) for s in source.samples()]
    assert kinds == [(n, i) for i in range(3) for n in ("ImageSample", "LidarSample")]


def test_recorded_timestamps_are_used_and_checked(tmp_path: Path) -> None:
    folder = kitti_folder(tmp_path)
    times = folder / "image_02" / "timestamps.txt"
    lines = [f"2011-09-26 13:02:25.{n:09}" for n in (594360375, 697995135, 801000001)]
    times.write_text("\n".join(lines))
    source = open_source(f"kitti:{folder}")
    images = [s for s in source.samples() if isinstance(s, ImageSample)]
    assert [b.mono_ns - a.mono_ns for a, b in itertools.pairwise(images)] == [
        103634760,
        103004866,
    ]
    told = source.describe()
    assert images[0].mono_ns + told.utc_minus_mono_ns == 1317042145_594360375
    times.write_text("\n".join(lines[:2]))
    with pytest.raises(InputError, match="2 times for 3 files"):
        open_source(f"kitti:{folder}")
    times.write_text("\n".join([lines[0], "yesterday", lines[2]]))
    with pytest.raises(InputError, match=r"timestamps.txt:2: 'yesterday'"):
        open_source(f"kitti:{folder}")
    times.write_text("\n".join([lines[1], lines[0], lines[2]]))
    with pytest.raises(InputError, match=r"timestamps.txt:2: time does not rise"):
        open_source(f"kitti:{folder}")


def test_tracking_calibration_maps_the_camera_into_the_ego_frame(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = kitti_folder(tmp_path)
    (folder / "calib.txt").write_text((shared_data / "kitti_tracking/calib/0000.txt").read_text())
    first = next(iter(open_source(f"kitti:{folder}").samples()))
    assert isinstance(first, CalibrationSample)
    assert first.intrinsics[0, 0] == pytest.approx(721.5377)
    forward = first.ego_SE3_camera[:3, :3] @ (0, 0, 1)
    np.testing.assert_allclose(forward, (1, 0, 0), atol=0.03)
    np.testing.assert_allclose(first.ego_SE3_camera[:3, 3], (1.08, -0.26, 0.73), atol=0.1)


def test_a_cut_image_ends_the_stream_with_its_offset(tmp_path: Path) -> None:
    folder = kitti_folder(tmp_path)
    path = folder / "image_02/data/0000000001.png"
    path.write_bytes(path.read_bytes()[:-15])
    stream = open_source(f"kitti:{folder}").samples()
    given_before: list[Sample] = []
    with pytest.raises(CorruptError, match=r"0000000001.png:offset \d+"):
        given_before.extend(stream)  # keeps what came before the error
    assert [type(s).__name__ for s in given_before][:1] == ["ImageSample"]


def test_a_cut_bin_is_named_with_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0" * 40)
    with pytest.raises(CorruptError, match=r"a.bin:offset 32: ends 8 bytes into a point"):
        read_scan(path)


_POINTS = np.array([[1, 2, 3], [-4, 5.5, -6], [np.nan, 0, 0]], np.float64)


def pcd(kind: str, order: str, points: int = 3) -> bytes:
    """A PCD of three points with fields in the given order, intensity as unsigned byte."""
    kinds = {"x": "<f8", "y": "<f4", "z": "<f4", "intensity": "<u1", "ring": "<u2"}
    fields = order.split()
    rows = np.zeros(3, dtype=[(f, kinds[f]) for f in fields])
    for axis, values in zip("xyz", _POINTS.T, strict=True):
        rows[axis] = values
    if "intensity" in fields:
        rows["intensity"] = (10, 200, 30)
    if "ring" in fields:
        rows["ring"] = (7, 31, 2)
    header = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {order}\n"
        f"SIZE {' '.join(kinds[f][2] for f in fields)}\n"
        f"TYPE {' '.join(kinds[f][1].upper() for f in fields)}\n"
        f"COUNT {' '.join('1' for _ in fields)}\nWIDTH {points}\nHEIGHT 1\n"
        f"POINTS {points}\nDATA {kind}\n"
    ).encode()
    if kind == "ascii":
        return header + "\n".join(" ".join(str(row[f]) for f in fields) for row in rows).encode()
    return header + rows.tobytes()


@pytest.mark.parametrize("kind", ["ascii", "binary"])
@pytest.mark.parametrize("order", ["x y z intensity ring", "ring z intensity y x", "y x z"])
def test_pcd_fields_come_in_any_order(tmp_path: Path, kind: str, order: str) -> None:
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd(kind, order))
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.xyz_m, _POINTS[:2].astype(np.float32))
    assert scan.intensity.tolist() == ([10, 200] if "intensity" in order else [0, 0])
    assert (scan.ring.tolist() if scan.ring is not None else None) == (
        [7, 31] if "ring" in order else None
    )


def test_a_pcd_that_ends_early_is_named_with_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd"
    whole = pcd("binary", "x y z")
    path.write_bytes(whole[:-5])
    body = whole.index(b"DATA binary\n") + len(b"DATA binary\n")
    with pytest.raises(CorruptError, match=rf"a.pcd:offset {body + 32}: ends after 2 of 3"):
        read_scan(path)
    path.write_bytes(pcd("ascii", "x y z", points=4))
    with pytest.raises(CorruptError, match=r"point 3 of 4 is not 3 numbers"):
        read_scan(path)
    path.write_bytes(pcd("binary_compressed", "x y z"))
    with pytest.raises(InputError, match="binary_compressed"):
        read_scan(path)


@given(st.data())
def test_damaged_scans_and_images_raise_our_errors_only(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([pcd("ascii", "x y z"), pcd("binary", "x z y ring")]))
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    from kernels.lidar.scan_files import _parse_pcd

    try:
        scan = _parse_pcd(bytes(content), "x")
    except LongtailError:
        return
    assert scan.xyz_m.shape == (scan.intensity.size, 3)


@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 200))
def test_a_damaged_png_chain_raises_our_errors_only(place: int, value: int, cut: int) -> None:
    content = bytearray(png_bytes())
    content[place % len(content)] = value
    content = content[: len(content) - cut]
    try:
        header = png_header(bytes(content), "x")
        chunks = png_chunks(bytes(content), "x")
    except CorruptError:
        return
    assert header.width > 0 and chunks[-1][0] == b"IEND"
    assert all(offset + length <= len(content) for _, offset, length in chunks)


def test_png_length_bomb_is_refused() -> None:
    content = png_bytes()[:33] + struct.pack(">I", 2**31) + b"IDAT"
    with pytest.raises(CorruptError, match=r"offset 33"):
        png_chunks(content + b"\0" * 20, "x")


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("kiti:/data", "did you mean 'kitti'"),
        ("/data/drive", "names no source"),
        ("comma2k19:", "lacks a path"),
        ("kitti:/no/such/folder", "no such file or folder"),
        ("sim:sed=3", "did you mean 'seed'"),
        ("sim:seed=a", "must be a number"),
        ("sim:seed=-1", "whole number"),
        ("sim:duration_s=1", "5 to 7200"),
        ("sim:duration_s=nan", "5 to 7200"),
        ("sim:camera=2", "0 or 1"),
    ],
)
def test_wrong_addresses_are_refused_with_what_would_be_right(uri: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        open_source(uri)


def test_a_folder_without_kitti_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="not a folder"):
        open_source(f"kitti:{tmp_path / 'file'}")
    with pytest.raises(InputError, match="image_0N"):
        open_source(f"kitti:{tmp_path}")
    for name in ("velodyne_0000", "velodyne_0001"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.bin").write_bytes(b"\0" * 16)
    with pytest.raises(InputError, match="several drives"):
        open_source(f"kitti:{tmp_path}")
