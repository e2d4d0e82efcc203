"""What is fuzzed: every decoder and parser of bytes that come from a disk or a network.

A target's `run` takes any bytes and either returns or raises one of its `refusals`; anything else,
a hang, a crash or memory without bound is a failure. `dress` puts checksums right again, so that
mutants get past them as often as not.
"""

from __future__ import annotations

import io
import json
import random
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import zstandard
from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.canonical import canonical_digest
from contracts.check_in import CheckIn
from contracts.clip import ClipManifest
from contracts.clock import ClockQuality, VirtualClock
from contracts.errors import LongtailError
from contracts.expression import parse_expression
from contracts.ota import parse_slot, release_of_path
from contracts.samples import ImageSample
from contracts.signal_log import SignalLogHeader
from contracts.trigger_spec import parse_spec
from contracts.upload import EventRecord, UploadAnswer, UploadRequest, UploadStatus
from edge_agent.config import load_config
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.ledger import Ledger, open_ledger
from edge_agent.ota.manifest import Sequence as Sequence_
from edge_agent.ota.state import OtaState, read_state, write_state
from edge_agent.ota.trusted_time import TrustedTime
from edge_agent.perception.manifests import BUNDLED_MANIFESTS
from edge_agent.perception.manifests import read_manifest as read_model
from edge_agent.perception.pixels import decode_pixels
from edge_agent.perception.png import decode_png
from edge_agent.redaction.geojson import read_zones
from edge_agent.sameness import look_at
from edge_agent.spool.entry import Sidecar
from edge_agent.spool.folder import read_sidecar, reason_of, seal_of, write_sidecar
from edge_agent.upload.links import parse_link
from edge_agent.upload.receiver import _replied
from edge_agent.upload.transport import Reply
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage, encode_sample
from kernels.clip.reader import read_manifest, read_samples, read_spec_texts
from kernels.clip.writer import write_clip
from kernels.lidar.scan_files import parse_scan
from kernels.lidar_codec import decode_grid, decode_sweep
from kernels.phash import phash64
from kernels.signal_log import read_header, read_signal_log
from tests.fuzz.mutation import MOST_BYTES, mutate_bytes, mutate_json, mutate_text

Run = Callable[[bytes], object]
Seeds = Callable[[], Sequence[bytes]]
Dress = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Target:
    """One decoder or parser.

    Args:
        seeds: sound inputs.
        run: feeds one input; `folder` targets get a path in `run_file` instead.
        refusals: what it may raise.
        dress: puts checksums right.
        words: a grammar's; makes it a text target.
        is_json: mutate by the value.
        slow: works on files, some milliseconds each.
    """

    name: str
    seeds: Seeds
    run: Run | None = None
    run_file: Callable[[Path], object] | None = None
    file_name: str = "input"
    refusals: tuple[type[BaseException], ...] = (LongtailError,)
    dress: Dress | None = None
    words: Sequence[str] | None = None
    is_json: bool = False
    slow: bool = False

    def mutant(self, rng: random.Random) -> bytes:
        """One input."""
        seeds = self.seeds()
        plain = rng.random() < 0.2
        if self.is_json and not plain:
            content = mutate_json(rng, seeds)
        elif self.words is not None and not plain:
            content = mutate_text(rng, seeds, self.words)
        else:
            content = mutate_bytes(rng, seeds)
        if self.dress is not None and rng.random() < 0.7:
            return self.dress(content)[:MOST_BYTES]
        return content

    @contextmanager
    def opened(self) -> Iterator[Run]:
        """What feeds one input, with a folder of its own where files are read."""
        if self.run is not None:
            yield self.run
            return
        run_file = self.run_file
        assert run_file is not None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.file_name

            def run(content: bytes) -> object:
                path.write_bytes(content)
                return run_file(path)

            yield run


def text_of(content: bytes) -> str:
    """Text as a transport would hand it over."""
    return content.decode("utf-8", "replace")


# Seeds -------------------------------------------------------------------------------------------


@cache
def clip_file() -> bytes:
    from tests.kernels.test_clip import SPEC, manifest, messages

    stream = io.BytesIO()
    write_clip(stream, manifest(), messages(), {"hard-brake-v1.yaml": SPEC})
    return stream.getvalue()


@cache
def payloads() -> tuple[EncodedMessage, ...]:
    from tests.kernels.test_clip import messages

    return tuple({m.schema_name: m for m in messages()}.values())


@cache
def sweeps() -> tuple[bytes, ...]:
    from tests.kernels.test_lidar_codec import PAYLOADS

    return tuple(PAYLOADS)


def seal_sweep(content: bytes) -> bytes:
    from tests.kernels.test_lidar_codec import reseal

    return reseal(content) if len(content) >= 32 else content


@cache
def signal_logs() -> tuple[bytes, ...]:
    from tests.kernels.test_signal_log import whole_log

    return (whole_log()[0],)


def seal_log(content: bytes) -> bytes:
    """The checksum of each chunk as far as its lengths still lead to the next."""
    made = bytearray(content)
    at = 8
    head = struct.Struct("<4sIII")
    while at + head.size <= len(made):
        kind, stored, raw, _ = head.unpack_from(made, at)
        body = bytes(made[at + head.size : at + head.size + stored])
        if len(body) < stored:
            break
        crc = zlib.crc32(body, zlib.crc32(struct.pack("<4sII", kind, stored, raw)))
        head.pack_into(made, at, kind, stored, raw, crc)
        at += head.size + stored
    return bytes(made)


def log_chunk(content: bytes) -> bytes:
    """A log whose one chunk holds these bytes, rightly framed."""
    from tests.kernels.test_signal_log import framed

    whole = signal_logs()[0]
    _, stored, _, _ = struct.unpack_from("<4sIII", whole, 8)
    return whole[: 24 + stored] + framed(b"TICK", content)


@cache
def raw_chunks() -> tuple[bytes, ...]:
    whole = signal_logs()[0]
    found, at = [], 8
    while at + 16 <= len(whole):
        kind, stored, _, _ = struct.unpack_from("<4sIII", whole, at)
        body = whole[at + 16 : at + 16 + stored]
        if kind == b"TICK":
            found.append(zstandard.ZstdDecompressor().decompress(body))
        at += 16 + stored
    return tuple(found)


@cache
def pngs() -> tuple[bytes, ...]:
    from PIL import Image

    rng = np.random.default_rng(1)
    found = []
    for mode in ("RGB", "L", "RGBA", "LA", "P"):
        pixels = rng.integers(0, 255, (12, 9, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, "PNG")
        found.append(stream.getvalue())
    return tuple(found)


def seal_png(content: bytes) -> bytes:
    made = bytearray(content)
    at = 8
    while at + 12 <= len(made):
        length = int.from_bytes(made[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(made):
            break
        made[end : end + 4] = zlib.crc32(made[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(made)


@cache
def jpegs() -> tuple[bytes, ...]:
    pixels = np.random.default_rng(1).integers(0, 255, (40, 56, 3), np.uint8)
    return tuple(
        bytes(simplejpeg.encode_jpeg(pixels, quality=60, colorsubsampling=kind))
        for kind in ("444", "420")
    )


def pcd(kind: str) -> bytes:
    rows = np.random.default_rng(1).normal(0, 9, (12, 4)).astype(np.float32)
    head = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\n"
        f"COUNT 1 1 1 1\nWIDTH 12\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 12\nDATA {kind}\n"
    ).encode()
    body = rows.tobytes() if kind == "binary" else b"\n".join(
        b" ".join(b"%g" % value for value in row) for row in rows
    )  # fmt: skip
    return head + body


def request_json() -> bytes:
    from tests.edge_agent.upload_rig import clip_bytes, request_for

    return request_for(clip_bytes(1, 1000), 3).model_dump_json().encode()


def event_json() -> bytes:
    from tests.edge_agent.upload_rig import record

    return record(3).model_dump_json().encode()


@cache
def sidecars() -> tuple[bytes, ...]:
    request = UploadRequest.model_validate_json(request_json())
    sidecar = Sidecar(
        request=request, priority="safety", cellular="allowed", value=3.0, sequence=7, utc_ns=1
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{request.clip_id}.json"
        write_sidecar(RealDisk(), path, sidecar)
        return (path.read_bytes(),)


def sidecar_name() -> str:
    return UploadRequest.model_validate_json(request_json()).clip_id + ".json"


def seal_json(content: bytes, seal: Callable[[dict[str, Any]], None]) -> bytes:
    """An object with its own digest put right, anything else as it is."""
    try:
        tree = json.loads(content)
        if isinstance(tree, dict):
            seal(tree)
        return json.dumps(tree).encode()
    except (ValueError, RecursionError, LongtailError):
        return content


def seal_sidecar(content: bytes) -> bytes:
    return seal_json(content, lambda tree: tree.update(seal=seal_of(json.dumps(tree).encode())))


def seal_state(content: bytes) -> bytes:
    return seal_json(content, lambda tree: tree.update(sha256=canonical_digest(tree.get("state"))))


@cache
def specs() -> tuple[bytes, ...]:
    folder = Path(__file__).parents[2] / "trigger_specs"
    return tuple(path.read_bytes() for path in sorted(folder.glob("*.yaml")))


@cache
def ledgers() -> tuple[bytes, ...]:
    from tests.edge_agent.upload_rig import BOOT, record

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        ledger = Ledger(path, VirtualClock(), BOOT)
        for number in range(8):
            ledger.outbox.put(record(number))
            ledger.spending.reserve(("a", number), "safety", 10)
        ledger.cellular.settle(ledger.cellular.debit(1000), 900)
        ledger.close()
        return (path.read_bytes(),)


@cache
def ota_states() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        write_state(RealDisk(), path, OtaState(killed=("jerk",)))
        return (path.read_bytes(),)


ZONES = b"""{"type": "FeatureCollection", "features": [
 {"type": "Feature", "properties": {"name": "yard"}, "geometry": {"type": "Polygon", "coordinates":
  [[[8.5, 47.3], [8.6, 47.3], [8.6, 47.4], [8.5, 47.4], [8.5, 47.3]]]}},
 {"type": "Feature", "properties": {}, "geometry": {"type": "MultiPolygon", "coordinates":
  [[[[1.0, 2.0], [1.1, 2.0], [1.1, 2.1], [1.0, 2.0]]]]}}]}"""

CONFIG = b"""vehicle_id = "car-1"
state = "/tmp/x"
source = "sim:"
[spool]
quota = "8GB"
floor_free = "1GB"
[upload]
cellular_bytes_per_day = "50MB"
"""

QUERY_WORDS = (
    "AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL", "ORDER BY", "LIMIT", "DESC", "(",
    ")", "'x'", "1e9", "start_time", "safety", "weather", "max_decel_mps2", "ANY", "triggers", "=",
    "<>",
)  # fmt: skip
QUERIES = (
    b"weather = 'rain' AND max_decel_mps2 > 4",
    b"safety AND NOT (tod IN ('night', 'dusk')) OR min_ttc_s BETWEEN 0.1 AND 2.5",
    b"weather LIKE 'ra%' AND lat_deg IS NOT NULL",
)
EXPRESSION_WORDS = (
    "and", "or", "not", "(", ")", "ego.speed_mps", "abs", "min", "max", "<", "<=", "==", "1e9",
    "if", "lambda", "autonomy.engaged", "+", "**", "//", "[", "]", ".", "__class__",
)  # fmt: skip
EXPRESSIONS = (
    b"ego.speed_mps > 5 and not autonomy.engaged",
    b"abs(ego.accel_mps2) > 2 or (lead.ttc_s < 1.5 and ego.speed_mps >= 3)",
)
SPEC_WORDS = (
    "apiVersion", "kind", "hard_brake", "when", "expression", "for", "cooldown", "capture", "pre",
    "5s", "9GB", "{", "}", "[", "]", ":", "- ", "\n", "\n  ", "&a", "*a", "<<", "!!", "%", "|", ">",
)  # fmt: skip


# What is run -------------------------------------------------------------------------------------


def run_clip(content: bytes) -> None:
    for _ in read_samples(io.BytesIO(content), utc_minus_mono_ns=0):
        pass


def run_clip_head(content: bytes) -> None:
    read_manifest(io.BytesIO(content))
    read_spec_texts(io.BytesIO(content))


def run_payload(content: bytes) -> None:
    """The first byte says what the rest claims to be."""
    kinds = payloads()
    kind = kinds[content[0] % len(kinds)] if content else kinds[0]
    OwnDecoder().decode(EncodedMessage(kind.channel, kind.schema_name, 5, content[1:]))


def payload_seeds() -> list[bytes]:
    return [bytes([index]) + message.payload for index, message in enumerate(payloads())]


def run_picture(content: bytes) -> None:
    phash64(decode_pixels(ImageSample("/camera/a", 0, "jpeg", content, 0, 0, "a")))


def run_look(content: bytes) -> None:
    for encoding in ("jpeg", "png"):
        sample = ImageSample("/camera/a", 0, encoding, content, 0, 0, "a")
        look = look_at(encode_sample(sample, 0))
        assert look is None or look.is_same(look)


def run_hash(content: bytes) -> None:
    """Any shape that these bytes fill."""
    if len(content) < 4:
        return
    height, width = 1 + content[0], 1 + content[1]
    depth = (1, 3, 4)[content[2] % 3]
    pixels = np.frombuffer(content[3:], np.uint8)
    rows = len(pixels) // (width * depth)
    image = pixels[: rows * width * depth].reshape(rows, width, depth)[:height]
    phash64(image[:, :, 0] if depth == 1 else image)


def run_scan(content: bytes) -> None:
    if content[:1] == b"b":
        parse_scan(content[1:], ".bin", "scan")
    else:
        parse_scan(content, ".pcd", "scan")


def run_tus(content: bytes) -> None:
    """Header fields, one a line, as a proxy would hand them on."""
    from cloud_ingest.ranges import parse_range
    from cloud_ingest.tus.protocol import (
        check_version,
        parse_body,
        parse_checksum,
        parse_length,
        parse_metadata,
        parse_number,
    )

    lines = (line.partition(":") for line in content.decode("latin-1").split("\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    calls: list[Callable[[], object]] = [
        lambda: check_version(headers),
        lambda: parse_body(headers, 0),
        lambda: parse_length(headers, 2**36),
        lambda: parse_number(headers, "Upload-Offset"),
        lambda: parse_metadata(headers.get("upload-metadata", "")),
        lambda: parse_checksum(headers.get("upload-checksum")),
        lambda: parse_range(headers.get("range"), 12345),
    ]
    for call in calls:
        try:
            call()
        except LongtailError:
            continue


TUS_HEADERS = (
    b"Tus-Resumable: 1.0.0\nUpload-Length: 8388608\nUpload-Offset: 0\nContent-Length: 1000\n"
    b"Content-Type: application/offset+octet-stream\nRange: bytes=5-900\n"
    b"Upload-Checksum: sha256 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    b"Upload-Metadata: filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential",
)
TUS_WORDS = (
    "Upload-Length", "Upload-Offset", "Upload-Checksum", "sha1", "md5", "Range", "bytes=", "-", ",",
    "Transfer-Encoding: chunked", "Upload-Defer-Length: 1", "\n", ":", "+5", "-1",
)  # fmt: skip


def run_query(content: bytes) -> None:
    from cloud_ingest.query.compile import compile_where
    from cloud_ingest.query.parser import parse_query

    found = parse_query(text_of(content))
    if found.where is not None:
        str(compile_where(found.where))


TIME_COLUMN = "start_utc"


def run_cursor(content: bytes) -> None:
    import base64

    from cloud_ingest.query.pages import parse_cursor

    if not content.startswith(b"["):
        parse_cursor(text_of(content), "s", TIME_COLUMN)
    parse_cursor(base64.urlsafe_b64encode(content).decode().rstrip("="), "s", TIME_COLUMN)


def run_log_cursor(content: bytes) -> None:
    import base64

    from cloud_ingest.signal_logs import _read_cursor

    _read_cursor(base64.urlsafe_b64encode(content).decode())


def run_sequence(path: Path) -> None:
    Sequence_(path, RealDisk()).next()
    path.unlink(missing_ok=True)


def run_time_floor(path: Path) -> None:
    TrustedTime(path, RealDisk(), VirtualClock())


def run_reply(content: bytes) -> None:
    """An answer of a server that may be anybody: the vehicle's reading of it."""
    head, _, body = content.partition(b"\n\n")
    lines = (line.partition(":") for line in head.decode("latin-1").split("\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    for status in (200, 204, 409, 429, 500):
        reply = Reply(status, headers, body)
        found = _replied(reply)
        assert found.offset_bytes is None or found.offset_bytes >= 0
        for kind in (UploadAnswer, UploadStatus):
            try:
                kind.model_validate_json(body)
            except ValidationError:
                continue


REPLY = (
    b"Upload-Offset: 8388608\nRetry-After: 30\nContent-Type: application/json\n\n"
    b'{"error": "busy", "message": "later", "retry_after_s": 4.5}'
)


def run_ledger(path: Path) -> None:
    for old in path.parent.glob("ledger.sqlite*"):
        if old != path:
            old.unlink()
    ledger = open_ledger(path, VirtualClock(), "boot-1")
    try:
        ledger.cellular.spent()
        ledger.spending.of("a")
        ledger.outbox.waiting()
        ledger.tombstones.after()
        ledger.suppressions.rows()
        ledger.totals.all()
        ledger.spending.reserve(("b", 1), "ordinary", 1)
    finally:
        ledger.close()


def run_model(kind: type[BaseModel]) -> Run:
    adapter = TypeAdapter(kind)
    return adapter.validate_json


def run_can(content: bytes) -> None:
    """Frames of the test's own DBC: two bytes of identifier and length, then the payload."""
    from edge_agent.sources.can.binding import Frame

    bound = can_map()
    for at in range(0, len(content) - 1, 10):
        identifier = (256, 257, 2566834709 & 0x1FFFFFFF)[content[at] % 3]
        payload = content[at + 2 : at + 2 + content[at + 1] % 9]
        frame = Frame(identifier, content[at] % 3 == 2, payload, 0)
        for _, value in bound.decode(frame):
            assert isinstance(value, float)


@cache
def can_map() -> Any:
    from edge_agent.sources.can.binding import bind_map, load_dbc
    from edge_agent.sources.can.mapping import load_map
    from tests.edge_agent.can_logs import DBC, MAP

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vehicle.dbc").write_text(DBC)
        (Path(folder) / "map.yaml").write_text(MAP)
        loaded = load_map(Path(folder) / "map.yaml")
        return bind_map(loaded, load_dbc(Path(folder) / "vehicle.dbc", None))


def run_dbc(path: Path) -> None:
    from edge_agent.sources.can.binding import bind_map, load_dbc
    from edge_agent.sources.can.mapping import load_map
    from tests.edge_agent.can_logs import MAP

    (path.parent / "map.yaml").write_text(MAP)
    bind_map(load_map(path.parent / "map.yaml"), load_dbc(path, None))


def dbc_seed() -> list[bytes]:
    from tests.edge_agent.can_logs import DBC

    return [DBC.encode()]


def run_can_map(path: Path) -> None:
    from edge_agent.sources.can.mapping import load_map

    load_map(path)


def can_map_seed() -> list[bytes]:
    from tests.edge_agent.can_logs import MAP

    return [MAP.encode()]


def run_can_log(path: Path) -> None:
    from edge_agent.sources.can.frames import read_log

    for _ in read_log(path, Counter()):
        pass


@cache
def can_logs(suffix: str) -> tuple[bytes, ...]:
    import can

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"log{suffix}"
        with can.Logger(str(path)) as writer:
            for number in range(20):
                writer.on_message_received(
                    can.Message(
                        timestamp=1.0 + number / 100,
                        arbitration_id=256 + number % 2,
                        data=bytes(range(number % 9)),
                        is_extended_id=False,
                        channel=0,
                    )
                )
        return (path.read_bytes(),)


def run_bag(path: Path) -> None:
    from edge_agent.sources.ros2.source import open_ros2

    for _ in open_ros2(str(path)).samples():
        pass


@cache
def bags() -> tuple[bytes, ...]:
    from tests.edge_agent.test_source_ros2 import drive_bag

    with tempfile.TemporaryDirectory() as folder:
        made = drive_bag(Path(folder), "mcap")
        return tuple(path.read_bytes() for path in sorted(made.glob("*.mcap")))


def vehicle_keys() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        VehicleKey.load_or_create(path, "car-1", RealDisk())
        return [path.read_bytes()]


@cache
def model_manifests() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(BUNDLED_MANIFESTS.glob("*.yaml"))[:2])


def header_json() -> bytes:
    return read_header(io.BytesIO(signal_logs()[0])).model_dump_json().encode()


def manifest_json() -> bytes:
    from tests.kernels.test_clip import manifest

    return manifest().model_dump_json().encode()


def run_key(path: Path) -> None:
    path.chmod(0o600)
    VehicleKey.load_or_create(path, "car-1", RealDisk())


def check_in_json() -> bytes:
    made = CheckIn(
        vehicle_id="car-1", boot_id="boot-1", sequence=3, nonce="0" * 32, utc_ns=0, mono_ns=0,
        clock=ClockQuality(synchronised=False), labels={"region": "x"},
    )  # fmt: skip
    return made.model_dump_json().encode()


def run_ota_words(content: bytes) -> None:
    text = text_of(content)
    for parse in (parse_slot, release_of_path):
        try:
            parse(text)
        except LongtailError:
            continue


_INVALID = (ValidationError,)
_ALL = (
    Target("lidar-sweep", sweeps, decode_sweep, dress=seal_sweep),
    Target("lidar-grid", lambda: sweeps()[-1:], decode_grid, dress=seal_sweep),
    Target("signal-log", signal_logs, lambda c: read_signal_log(io.BytesIO(c)), dress=seal_log),
    Target("signal-chunk", raw_chunks, lambda c: read_signal_log(io.BytesIO(log_chunk(c)))),
    Target("clip", lambda: [clip_file()], run_clip),
    Target("clip-manifest", lambda: [clip_file()], run_clip_head),
    Target("clip-payload", payload_seeds, run_payload),
    Target("png", pngs, lambda c: decode_png(c, "x"), dress=seal_png),
    Target("jpeg", jpegs, run_picture),
    Target("picture-look", jpegs, run_look),
    Target("phash", lambda: [bytes([40, 9, 1]) + bytes(range(250)) * 8], run_hash),
    Target("scan", lambda: [pcd("binary"), pcd("ascii"), b"b" + bytes(64)], run_scan),
    Target("can-frames", lambda: [bytes(range(200))], run_can),
    Target("can-dbc", dbc_seed, run_file=run_dbc, file_name="vehicle.dbc", slow=True,
           words=("BO_", "SG_", "VAL_", "|", "@", "(", ")", "m0", "M", "256", "1e999")),
    Target("can-map", can_map_seed, run_file=run_can_map, file_name="m.yaml", words=SPEC_WORDS),
    Target("can-asc", lambda: can_logs(".asc"), run_file=run_can_log, file_name="a.asc", slow=True,
           words=("Rx", "d", "begin", "triggerblock", "base hex", "x", "8")),
    Target("can-blf", lambda: can_logs(".blf"), run_file=run_can_log, file_name="a.blf", slow=True),
    Target("ros-bag", bags, run_file=run_bag, file_name="b.mcap", slow=True),
    Target("trigger-spec", specs, lambda c: parse_spec(text_of(c), "s"), words=SPEC_WORDS),
    Target("expression", lambda: EXPRESSIONS, lambda c: parse_expression(text_of(c)),
           words=EXPRESSION_WORDS),
    Target("query", lambda: QUERIES, run_query, words=QUERY_WORDS),
    Target("cursor", lambda: [b'["s", "2026-01-01T00:00:00Z", "c", 5]'], run_cursor,
           is_json=True),
    Target("log-cursor", lambda: [b'[5, "abc"]'], run_log_cursor, is_json=True),
    Target("check-in-number", lambda: [b'{"reserved": 64}'], run_file=run_sequence, is_json=True,
           file_name="sequence.json", slow=True),
    Target("time-floor", lambda: [b'{"floor_utc_ns": 5000000}'], run_file=run_time_floor,
           file_name="floor.json", is_json=True),
    Target("tus-headers", lambda: TUS_HEADERS, run_tus, words=TUS_WORDS),
    Target("server-answer", lambda: [REPLY], run_reply,
           words=("Upload-Offset", "Retry-After", "nan", "inf", "-1", "committed", "{", "}")),
    Target("upload-request", lambda: [request_json()], run_model(UploadRequest), is_json=True,
           refusals=_INVALID),
    Target("event-record", lambda: [event_json()], run_model(EventRecord), is_json=True,
           refusals=_INVALID),
    Target("log-header", lambda: [header_json()], run_model(SignalLogHeader), is_json=True,
           refusals=_INVALID),
    Target("manifest-json", lambda: [manifest_json()], run_model(ClipManifest), is_json=True,
           refusals=_INVALID),
    Target("check-in", lambda: [check_in_json()], run_model(CheckIn), is_json=True,
           refusals=_INVALID),
    Target("sidecar", sidecars, run_file=read_sidecar, file_name=sidecar_name(), is_json=True,
           dress=seal_sidecar),
    Target("reason", lambda: [b'{"reason": "x", "from": "active", "utc_ns": 1}'], is_json=True,
           run_file=lambda p: reason_of(p.with_name("input")), file_name="input.reason.json"),
    Target("ledger", ledgers, run_file=run_ledger, file_name="ledger.sqlite", slow=True),
    Target("ota-state", ota_states, run_file=read_state, file_name="state.json", is_json=True,
           dress=seal_state),
    Target("ota-words", lambda: [b"trigger:brake", b"triggers/brake/3/spec.yaml", b"model@shadow"],
           run_ota_words, words=("trigger", "model", ":", "/", "@", "shadow", "..")),
    Target("model-manifest", model_manifests, run_file=read_model, file_name="m.yaml",
           words=SPEC_WORDS, slow=True),
    Target("agent-config", lambda: [CONFIG], run_file=lambda p: load_config(p, {}),
           file_name="agent.toml", words=("[spool]", "quota", "=", '"5GB"', "[[x]]", "1e400")),
    Target("zones", lambda: [ZONES], run_file=read_zones, file_name="z.json", is_json=True),
    Target("vehicle-key", vehicle_keys, file_name="key.pem", slow=True,
           run_file=run_key),
    Target("link-file", lambda: [b"wifi metered", b"cellular"], lambda c: parse_link(text_of(c)),
           words=("wifi", "metered", "none")),
)  # fmt: skip
TARGETS = {target.name: target for target in _ALL}
