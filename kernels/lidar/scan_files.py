"""Lidar scans as files hold them: PCD (ascii and binary) and KITTI's bare float32 `.bin`.

Guarantees: fields may stand in any order and of any PCD type; a file that ends early, or
whose header lies, raises `CorruptError` with the file and the offset at which it broke.
Points that are not finite (holes of an organised cloud) are left out.

Does not do: `binary_compressed`, colours and normals.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CorruptError, InputError
from contracts.samples import Float32s

MAX_POINTS = 16_000_000
_MAX_VALUES = 256
"""Numbers of one point, over all of its fields."""
_MAX_HEADER_BYTES = 16 * 1024
_TYPES = {
    "F": {4: "<f4", 8: "<f8"},
    "U": {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"},
    "I": {1: "<i1", 2: "<i2", 4: "<i4", 8: "<i8"},
}


@dataclass(frozen=True, slots=True)
class Scan:
    """`xyz_m` float32 [n, 3], `intensity` uint8 [n], `ring` uint16 [n] or None."""

    xyz_m: Float32s
    intensity: NDArray[np.uint8]
    ring: NDArray[np.uint16] | None = None


def parse_scan(content: bytes, suffix: str, place: str) -> Scan:
    """One scan of a file's content and the suffix of its name. Raises `CorruptError` with place
    and offset, `InputError` for other kinds.
    """
    if suffix == ".pcd":
        return _parse_pcd(content, place)
    if suffix == ".bin":
        return _parse_bin(content, place)
    raise InputError("not a lidar scan: expected .pcd or .bin", place)


def _parse_bin(content: bytes, place: str) -> Scan:
    """KITTI's layout: float32 x, y, z, reflectance in 0..1, little-endian, no header."""
    whole = len(content) // 16 * 16
    if whole != len(content):
        raise CorruptError(
            f"ends {len(content) - whole} bytes into a point of 16 bytes", f"{place}:offset {whole}"
        )
    rows = np.frombuffer(content, dtype="<f4").reshape(-1, 4)
    return _scan(rows[:, :3], rows[:, 3], None)


def _scan(
    xyz_m: NDArray[np.floating], intensity: NDArray[np.generic], ring: NDArray[np.generic] | None
) -> Scan:
    """Keep finite points; floating intensities are ratios, integers are already 0..255."""
    finite: slice | NDArray[np.bool_] = slice(None)
    # A sum that is finite has finite parts: most scans have no holes, and are not copied.
    with np.errstate(invalid="ignore", over="ignore"):
        xyz_m = np.asarray(xyz_m, dtype=np.float32)
        whole = bool(np.isfinite(xyz_m.sum(dtype=np.float64)))
    if not whole:
        finite = np.isfinite(xyz_m).all(axis=1)
    ratio = intensity[finite].astype(np.float64)
    if intensity.dtype.kind == "f" and not (ratio > 1.0).any():
        ratio = ratio * 255.0
    level = np.clip(np.rint(np.nan_to_num(ratio)), 0, 255).astype(np.uint8)
    rings = None if ring is None else _rings(ring[finite])
    return Scan(np.ascontiguousarray(xyz_m[finite]), level, rings)


def _rings(found: NDArray[np.generic]) -> NDArray[np.uint16]:
    """Beam numbers of any numeric type; what is none of them is 0."""
    numbers = found.astype(np.float64)
    sound = (numbers >= 0) & (numbers <= np.iinfo(np.uint16).max)
    return np.where(sound, numbers, 0).astype(np.uint16)


@dataclass(frozen=True, slots=True)
class _Header:
    fields: tuple[str, ...]
    row: np.dtype[np.void]
    points: int
    kind: str
    size_bytes: int


def _parse_header(content: bytes, place: str) -> _Header:
    lines: dict[str, list[str]] = {}
    offset = 0
    while "DATA" not in lines:
        end = content.find(b"\n", offset, _MAX_HEADER_BYTES)
        if end < 0:
            raise CorruptError(
                "the PCD header ends before its DATA line", f"{place}:offset {offset}"
            )
        words = content[offset:end].decode("ascii", "replace").split()
        if words and not words[0].startswith("#"):
            lines[words[0]] = words[1:]
        offset = end + 1
    try:
        names = lines["FIELDS"]
        counts = [int(n) for n in lines.get("COUNT", ["1"] * len(names))]
        types = [
            _TYPES[kind][int(size)] for kind, size in zip(lines["TYPE"], lines["SIZE"], strict=True)
        ]
        if counts and (min(counts) < 1 or sum(counts) > _MAX_VALUES):
            raise ValueError(f"COUNT {counts[:8]}")
        points = int(lines.get("POINTS", ["-1"])[0])
        if points < 0:
            points = int(lines["WIDTH"][0]) * int(lines["HEIGHT"][0])
        row = np.dtype(
            [
                (f"{name}#{i}", kind, (count,))
                for i, (name, kind, count) in enumerate(zip(names, types, counts, strict=True))
            ]
        )
    except (KeyError, ValueError, IndexError) as error:
        raise CorruptError(f"the PCD header is not right: {error!r}", place) from error
    missing = {"x", "y", "z"} - set(names)
    if missing:
        raise InputError(f"the PCD has no field {sorted(missing)}; it has {names}", place)
    if not 0 <= points <= MAX_POINTS:
        raise InputError(f"{points} points; at most {MAX_POINTS} are read", place)
    return _Header(tuple(names), row, points, " ".join(lines["DATA"]), offset)


def _parse_pcd(content: bytes, place: str) -> Scan:
    header = _parse_header(content, place)
    if header.kind == "binary":
        rows = _binary_rows(content, header, place)
    elif header.kind == "ascii":
        rows = _ascii_rows(content, header, place)
    else:
        raise InputError(f"DATA {header.kind} is not supported; use binary or ascii", place)

    def column(name: str) -> NDArray[np.generic]:
        index = header.fields.index(name)
        values: NDArray[np.generic] = rows[f"{name}#{index}"][:, 0]
        return values

    xyz_m = np.stack([column(axis).astype(np.float64) for axis in "xyz"], axis=1)
    intensity: NDArray[np.generic] = (
        column("intensity")
        if "intensity" in header.fields
        else np.zeros(header.points, dtype=np.uint8)
    )
    return _scan(xyz_m, intensity, column("ring") if "ring" in header.fields else None)


def _binary_rows(content: bytes, header: _Header, place: str) -> NDArray[np.void]:
    have = (len(content) - header.size_bytes) // header.row.itemsize
    if have < header.points:
        raise CorruptError(
            f"ends after {have} of {header.points} points of {header.row.itemsize} bytes",
            f"{place}:offset {header.size_bytes + have * header.row.itemsize}",
        )
    return np.frombuffer(content, header.row, header.points, header.size_bytes)


def _ascii_rows(content: bytes, header: _Header, place: str) -> NDArray[np.void]:
    lengths = [header.row[i].shape[0] for i in range(len(header.fields))]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    # A number takes a digit and what parts it from the next: no more is set aside than is there.
    if header.points * int(starts[-1]) * 2 > len(content) - header.size_bytes + 1:
        raise CorruptError(
            f"too short for {header.points} points", f"{place}:offset {len(content)}"
        )
    rows = np.zeros(header.points, dtype=header.row)
    stream = io.BytesIO(content)
    stream.seek(header.size_bytes)
    values = np.empty((header.points, int(starts[-1])), dtype=np.float64)
    for i in range(header.points):
        offset = stream.tell()
        words = stream.readline().split()
        try:
            values[i] = [float(word) for word in words]
        except ValueError as error:
            raise CorruptError(
                f"point {i} of {header.points} is not {int(starts[-1])} numbers",
                f"{place}:offset {offset}",
            ) from error
    for i, name in enumerate(rows.dtype.names or ()):
        rows[name] = _fitting(values[:, starts[i] : starts[i + 1]], rows[name].dtype)
    return rows


def _fitting(values: NDArray[np.float64], kind: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Numbers as this type holds them: what an integer cannot hold becomes its nearest bound."""
    if kind.kind in "iu":
        bounds = np.iinfo(kind.name)
        # The bounds of 64 bits are no doubles: the cast itself would step over them.
        low, high = float(bounds.min), np.nextafter(float(bounds.max), 0.0)
        return np.clip(np.nan_to_num(values), low, high).astype(kind)
    with np.errstate(over="ignore"):
        return values.astype(kind)
