"""Cameras: videos in files, Motion JPEG untouched, damaged packets, streams that come and go."""

from __future__ import annotations

import contextlib
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import CorruptError, InputError, TransientError
from contracts.samples import CalibrationSample, ImageSample, Sample
from edge_agent.kit.conformance import check_refusals, check_source
from edge_agent.ports import LiveSource
from edge_agent.sources.address import without_password
from edge_agent.sources.cameras.jpeg import NotAPictureError, encode, passed_through
from edge_agent.sources.cameras.pictures import Video
from edge_agent.sources.cameras.source import CameraFileSource, CameraStreamSource
from edge_agent.sources.cameras.times import PictureTimes
from edge_agent.sources.registry import open_source
from tests.edge_agent.videos import HEIGHT, WIDTH, picture, write_video

CALIBRATION = """apiVersion: longtail/v1
kind: CameraCalibration
width: 64
height: 48
fx: 50.0
fy: 50.0
cx: 32.0
cy: 24.0
position_m: [1.6, 0.1, 1.4]
yaw_pitch_roll_deg: [90.0, 0.0, 0.0]
"""


def images(samples: list[Sample]) -> list[ImageSample]:
    return [s for s in samples if isinstance(s, ImageSample)]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.mkv", "ffv1"), ("a.mkv", "mjpeg")]
)
def test_a_file_gives_its_pictures_at_their_times(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, codec=codec)
    report = check_source(lambda: open_source(f"camera:{path},name=front"))
    assert report.samples == {"/camera/front": 10} and report.notes == ()
    found = images(list(open_source(f"camera:{path},name=front").samples()))
    assert [i.mono_ns for i in found] == [NS_PER_S + n * 100_000_000 for n in range(10)]
    for number, image in enumerate(found):
        assert (image.width, image.height) == (WIDTH, HEIGHT)
        pixels = simplejpeg.decode_jpeg(bytes(image.content))
        wanted = picture(number).astype(int)
        assert np.abs(pixels.astype(int) - wanted).mean() < 6  # chroma at half resolution


def test_motion_jpeg_passes_through_untouched(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", codec="mjpeg")
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    found = images(list(open_source(f"camera:{path}").samples()))
    assert [bytes(i.content) for i in found] == packets
    assert found[0].channel == "/camera/a"


@pytest.mark.parametrize("layout", ["yuvj420p", "yuv420p", "yuv422p", "gray", "nv12"])
def test_frames_of_any_layout_become_jpeg(layout: str) -> None:
    frame = av.VideoFrame.from_ndarray(picture(2), format="rgb24").reformat(format=layout)
    found = simplejpeg.decode_jpeg(encode(frame)).astype(int)
    wanted = picture(2).astype(int)
    if layout == "gray":
        wanted = np.repeat(wanted @ [[0.299], [0.587], [0.114]], 3, axis=2)
    assert np.abs(found - wanted).mean() < 6


def test_missing_huffman_tables_are_put_back() -> None:
    whole = simplejpeg.encode_jpeg(picture(3))
    tables = whole.index(b"\xff\xc4")
    bare = whole[:tables] + whole[whole.index(b"\xff\xda") :]
    restored, width, height = passed_through(bare)
    assert (width, height) == (WIDTH, HEIGHT) and restored == whole
    assert passed_through(whole)[0] is whole
    for broken in (b"", b"\xff\xd8", whole[:-30], b"not a picture at all" + b"\xff\xd9"):
        with pytest.raises(NotAPictureError):
            passed_through(broken)


def test_damaged_packets_are_counted_and_left_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", codec="mjpeg")
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content) - 2) if content[i : i + 3] == b"\xff\xd8\xff"]
    content[starts[4] : starts[4] + 400] = bytes(400)
    path.write_bytes(content)
    source = open_source(f"camera:{path}")
    assert isinstance(source, CameraFileSource)
    found = images(list(source.samples()))
    assert len(found) == 9 and sum(source.counts.values()) == 1
    assert found[4].mono_ns - found[3].mono_ns == 200_000_000  # the gap stays a gap


def coded_video_damaged(folder: Path, amount: int) -> CameraFileSource:
    path = write_video(folder / "a.mkv", 20, codec="ffv1")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + amount] = b"\xaa" * amount
    path.write_bytes(content)
    source = open_source(f"camera:{path}")
    assert isinstance(source, CameraFileSource)
    return source


def test_damage_inside_a_coded_video_costs_one_picture(tmp_path: Path) -> None:
    source = coded_video_damaged(tmp_path, 50)
    assert len(images(list(source.samples()))) == 19
    assert source.counts["packets left out: cannot be decoded"] == 1


def test_a_video_that_breaks_off_says_so_after_its_last_picture(tmp_path: Path) -> None:
    source = coded_video_damaged(tmp_path, 400)
    found = []
    with pytest.raises(CorruptError, match=r"breaks off: 0.80 of 2.00 s"):
        for sample in source.samples():
            found.append(sample)  # noqa: PERF402  # what came before the error is kept
    assert 8 <= len(found) <= 10


def test_times_that_are_missing_or_go_back() -> None:
    times = PictureTimes(Fraction(10))
    tick = Fraction(1, 1000)
    found = [times.next_ns(t, tick) for t in (0, 100, None, 300, 50, 150)]
    assert [t // 1_000_000 for t in found] == [0, 100, 200, 300, 400, 500]
    assert (times.untimed, times.turned_back) == (1, 1)
    assert PictureTimes(None).next_ns(None, None) == 0


def test_recorded_times_replace_those_of_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    first = 1_790_000_000 * NS_PER_S
    stamps = [first + n * 133_000_000 for n in range(5)]
    (tmp_path / "times").write_text("# ns\n" + "\n".join(map(str, stamps)))
    source = open_source(f"camera:{path},times={tmp_path / 'times'}")
    told = source.describe()
    assert [s.mono_ns + told.utc_minus_mono_ns for s in source.samples()] == stamps
    assert told.clock.source == "recording"
    (tmp_path / "times").write_text("\n".join(map(str, stamps[:4])))
    with pytest.raises(InputError, match="4 times for 5 pictures"):
        open_source(f"camera:{path},times={tmp_path / 'times'}")
    (tmp_path / "times").write_text("5\n4\n")
    with pytest.raises(InputError, match="times:2: time does not rise"):
        open_source(f"camera:{path},times={tmp_path / 'times'}")


def test_start_rate_and_calibration(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 30, rate=30)
    (tmp_path / "left.yaml").write_text(CALIBRATION)
    address = (
        f"camera:{path},name=left,start=2026-05-01T12:00:00.25Z,max_hz=10"
        f",calibration={tmp_path / 'left.yaml'}"
    )
    check_source(lambda: open_source(address))
    source = open_source(address)
    first, *rest = list(source.samples())
    assert isinstance(first, CalibrationSample) and first.channel == "/camera/left"
    # yawed by 90 degrees, the camera's z axis looks to the left
    np.testing.assert_allclose(first.ego_SE3_camera[:3, 2], [0, 1, 0], atol=1e-12)
    assert len(rest) == 10
    wall_ns = rest[0].mono_ns + source.describe().utc_minus_mono_ns
    assert wall_ns == 1_777_636_800_250_000_000


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("camera:{folder}/none.mp4", "no such file"),
        ("camera:{folder}/text.mp4", "cannot be opened"),
        ("camera:{folder}/a.mp4,nam=x", "did you mean 'name'"),
        ("camera:{folder}/a.mp4,name=x/y", "letters, digits"),
        ("camera:{folder}/a.mp4,size=1x1", "size is for a live stream"),
        ("camera:{folder}/a.mp4,start=yesterday", "is not a time such as"),
        ("camera:{folder}/a.mp4,start=2026-05-01T12:00:00", "is not a time such as"),
        ("camera:{folder}/a.mp4,max_hz=-1", "must be a number above 0"),
        ("camera:{folder}/a.mp4,calibration={folder}/wrong.yaml", "wrong.yaml:5:5: fx"),
        ("camera:rtps://user:secret@127.0.0.1:9/x", "cannot be opened: Protocol not found"),
        ("camera:/dev/video77,transport=tcp", "transport is for URLs"),
        ("camera:rtsp://user:secret@127.0.0.1:9/x,transport=carrier-pigeon", "tcp or udp"),
    ],
)
def test_wrong_addresses(tmp_path: Path, address: str, complaint: str) -> None:
    write_video(tmp_path / "a.mp4", 3)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "wrong.yaml").write_text(CALIBRATION.replace("fx: 50.0", "fx: -50.0"))
    error = check_refusals(lambda: open_source(address.format(folder=tmp_path)))
    assert complaint in str(error) and "secret" not in str(error)


def test_passwords_are_not_told() -> None:
    assert without_password("rtsp://me:secret@host/a") == "rtsp://***@host/a"


class ScriptedStream:
    """A stream by a script: `v` opens a short video, `x` cannot be opened."""

    def __init__(self, script: str, path: Path, clock: VirtualClock) -> None:
        self._script, self._path, self._clock = script, path, clock

    def __call__(self) -> Video:
        letter, self._script = self._script[:1] or "x", self._script[1:]
        self._clock.set_mono_ns(self._clock.mono_ns() + NS_PER_S)
        if letter == "x":
            raise TransientError("cannot be opened: connection refused", "rtsp://camera")
        return Video(str(self._path))


def test_a_stream_that_is_lost_is_opened_again(tmp_path: Path) -> None:
    clock = VirtualClock(100 * NS_PER_S)
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        clock.set_mono_ns(clock.mono_ns() + round(seconds * 1e9))
        return False

    path = write_video(tmp_path / "a.mkv", 3, codec="mjpeg")
    source = CameraStreamSource(
        ScriptedStream("vxxxv", path, clock), "/camera/front", clock=clock, wait=wait,
        give_up_ns=60 * NS_PER_S,
    )  # fmt: skip
    assert isinstance(source, LiveSource)
    found = images(list(source.samples()))
    assert len(found) == 6 and source.gaps == 2
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0] and pauses[4] == 0.5
    times = [i.mono_ns for i in found]
    assert times == sorted(times) and times[3] - times[2] > 7 * NS_PER_S
    assert source.counts["cannot be opened"] >= 3


def test_a_stream_that_is_stopped_ends(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 10, codec="mjpeg")
    clock = VirtualClock()
    source = CameraStreamSource(ScriptedStream("v", path, clock), "/camera/front", clock=clock)
    samples = source.samples()
    next(samples)
    source.stop()
    assert list(samples) == []


def test_a_stream_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    clock = VirtualClock(100 * NS_PER_S)
    path = write_video(tmp_path / "a.mkv", 3, codec="mjpeg")
    source = CameraStreamSource(
        ScriptedStream("xxv", path, clock), "/camera/front", clock=clock, wait=lambda _: False,
        give_up_ns=20 * NS_PER_S,
    )  # fmt: skip
    assert source.counts["cannot be opened"] == 1
    assert source.describe().camera_channels == ("/camera/front",)
    assert len(images(list(source.samples()))) == 3


def test_a_stream_over_the_network(tmp_path: Path) -> None:
    """A camera's HTTP server: Motion JPEG until the connection ends, then again."""
    path = write_video(tmp_path / "a.mkv", 5, codec="mjpeg")
    with av.open(str(path)) as container:
        pictures = [bytes(p) for p in container.demux(video=0) if p.size]

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for content in pictures:
                head = (
                    f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                )
                self.wfile.write(head.encode() + content + b"\r\n")

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/stream"
            opened: list[Video] = []

            def open_video() -> Video:
                opened.append(Video(url, timeout_s=(5.0, 5.0)))
                return opened[-1]

            source = CameraStreamSource(open_video, "/camera/front", wait=lambda _: False)
            found = []
            for sample in source.samples():
                found.append(sample)
                if len(found) == 8:
                    source.stop()
        finally:
            server.shutdown()
            thread.join()
    assert len(found) == 8 and len(opened) == 2 and source.gaps == 1
    assert [bytes(i.content) for i in images(found)] == [*pictures, *pictures[:3]]
    times = [s.mono_ns for s in found]
    assert times == sorted(times)


@settings(max_examples=300)
@given(st.binary(max_size=400), st.integers(0, 500), st.integers(0, 300))
def test_whatever_a_camera_sends_is_a_picture_or_refused(
    noise: bytes, at: int, length: int
) -> None:
    whole = bytearray(simplejpeg.encode_jpeg(picture(1)))
    whole[at : at + length] = noise
    for content in (noise, bytes(whole), b"\xff\xd8" + noise + b"\xff\xd9"):
        with contextlib.suppress(NotAPictureError):
            _, width, height = passed_through(content)
            assert width > 0 and height > 0


def test_a_camera_that_falls_silent_is_a_gap_and_no_hang(tmp_path: Path) -> None:
    """Its connection stays open, but nothing comes: reading and opening give up in time."""
    path = write_video(tmp_path / "a.mkv", 5, codec="mjpeg")
    with av.open(str(path)) as container:
        pictures = [bytes(p) for p in container.demux(video=0) if p.size]
    over = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/stream":
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                for content in pictures:
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                    self.wfile.write(b"--frame\r\n" + head.encode() + content + b"\r\n")
            over.wait(60)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        try:
            with pytest.raises(TransientError, match="cannot be opened"):
                Video(f"{base}/nothing", timeout_s=(0.2, 0.2), live=True)
            source = CameraStreamSource(
                lambda: Video(f"{base}/stream", timeout_s=(5.0, 0.2)), "/camera/front",
                wait=lambda _: False,
            )  # fmt: skip
            found = []
            for sample in source.samples():
                found.append(sample)
                if source.gaps == 1:
                    source.stop()
        finally:
            over.set()
            server.shutdown()
            thread.join()
    assert source.gaps >= 1 and len(found) >= 5
