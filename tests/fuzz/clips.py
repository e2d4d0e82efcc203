"""Clips, their payloads, the lidar codec and signal logs."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import zstandard
from google.protobuf.message import DecodeError

from contracts.clip import ClipManifest
from contracts.errors import CorruptError
from contracts.signal_log import SignalLogHeader
from kernels.clip import schemas
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage
from kernels.clip.messages import check_alike
from kernels.clip.reader import read_manifest, read_samples, read_spec_texts
from kernels.clip.writer import write_clip
from kernels.lidar_codec import decode_grid, decode_sweep
from kernels.signal_log import read_header, read_signal_log
from tests.fuzz.target import INVALID, Target, run_model


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
    from tests.kernels.test_lidar_codec_damage import PAYLOADS

    return tuple(PAYLOADS)


def seal_sweep(content: bytes) -> bytes:
    from tests.kernels.test_lidar_codec_damage import reseal

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


def run_schema(content: bytes) -> None:
    """The first byte says which schema a file claims the rest to be."""
    name = schemas.SAMPLES[content[0] % len(schemas.SAMPLES)] if content else schemas.PERCEPTION
    check_alike(name, content[1:])


def schema_seeds() -> list[bytes]:
    return [bytes([i]) + schemas.schema_bytes(name) for i, name in enumerate(schemas.SAMPLES)]


def header_json() -> bytes:
    return read_header(io.BytesIO(signal_logs()[0])).model_dump_json().encode()


def manifest_json() -> bytes:
    from tests.kernels.test_clip import manifest

    return manifest().model_dump_json().encode()


TARGETS = (
    Target("lidar-sweep", sweeps, decode_sweep, dress=seal_sweep),
    Target("lidar-grid", lambda: sweeps()[-1:], decode_grid, dress=seal_sweep),
    Target("signal-log", signal_logs, lambda c: read_signal_log(io.BytesIO(c)), dress=seal_log),
    Target("signal-chunk", raw_chunks, lambda c: read_signal_log(io.BytesIO(log_chunk(c)))),
    Target("log-header", lambda: [header_json()], run_model(SignalLogHeader), is_json=True,
           refusals=INVALID),
    Target("clip", lambda: [clip_file()], run_clip),
    Target("clip-manifest", lambda: [clip_file()], run_clip_head),
    Target("manifest-json", lambda: [manifest_json()], run_model(ClipManifest), is_json=True,
           refusals=INVALID),
    Target("clip-payload", payload_seeds, run_payload),
    Target("clip-schema", schema_seeds, run_schema, refusals=(CorruptError, DecodeError)),
)  # fmt: skip
