"""Lidar scans in files: PCD and KITTI's bare `.bin`, as `kernels.lidar.scan_files` parses them."""

from __future__ import annotations

from pathlib import Path

from contracts.errors import InputError
from kernels.lidar.scan_files import Scan, parse_scan


def read_scan(path: Path) -> Scan:
    """One scan. Raises `CorruptError` with file and offset, `InputError` for other kinds."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    return parse_scan(content, path.suffix, str(path))
