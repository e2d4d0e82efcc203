"""Opens a source by its address, `scheme:rest`; each adapter's imports load only when used.

An installed package adds its own without a change here: an entry point of the group
`longtail.sources`, named after its scheme, that is called with what follows the colon
(docs/adapters.md). It can never stand in for a scheme that ships with the agent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError
from contracts.signals import nearest_name
from edge_agent.installed import SOURCES, installed, open_installed
from edge_agent.ports import SensorSource
from edge_agent.sources.address import without_password

Opener = Callable[[str], SensorSource]


def _comma2k19(rest: str) -> SensorSource:
    from edge_agent.sources.comma2k19 import Comma2k19Source

    return Comma2k19Source(Path(rest))


def _kitti(rest: str) -> SensorSource:
    from edge_agent.sources.kitti import KittiSource

    return KittiSource(Path(rest))


def _mcap(rest: str) -> SensorSource:
    from edge_agent.sources.mcap import McapSource

    return McapSource(Path(rest))


def _sim(rest: str) -> SensorSource:
    from edge_agent.sources.sim.options import parse_options
    from edge_agent.sources.sim.source import SimSource

    return SimSource(parse_options(rest))


def _can(rest: str) -> SensorSource:
    from edge_agent.sources.can.source import open_can

    return open_can(rest)


def _camera(rest: str) -> SensorSource:
    from edge_agent.sources.cameras.opening import open_camera

    return open_camera(rest)


def _ros2(rest: str) -> SensorSource:
    from edge_agent.sources.ros2.source import open_ros2

    return open_ros2(rest)


def _all(rest: str) -> SensorSource:
    from edge_agent.sources.merged import open_merged

    return open_merged(rest, open_source)


@dataclass(frozen=True, slots=True)
class _Kind:
    """`is_path`: all that follows the colon is one file or folder, which must exist."""

    open: Opener
    form: str
    is_path: bool = False
    may_be_empty: bool = False


_KINDS: dict[str, _Kind] = {
    "comma2k19": _Kind(_comma2k19, "comma2k19:SEGMENT_FOLDER", is_path=True),
    "kitti": _Kind(_kitti, "kitti:FOLDER", is_path=True),
    "mcap": _Kind(_mcap, "mcap:CLIP_FILE", is_path=True),
    "sim": _Kind(_sim, "sim: or sim:seed=3,duration_s=60", may_be_empty=True),
    "can": _Kind(_can, "can:LOG_FILE,map=MAP or can:socketcan/can0,map=MAP"),
    "camera": _Kind(_camera, "camera:VIDEO_FILE or camera:/dev/video0 or camera:rtsp://..."),
    "ros2": _Kind(_ros2, "ros2:BAG_FOLDER[,map=MAP]"),
    "all": _Kind(_all, "all:SOURCES.yaml", is_path=True),
}


def open_source(uri: str) -> SensorSource:
    """The source that `uri` names. Raises `InputError` saying what would be right."""
    scheme, colon, rest = uri.partition(":")
    kind = _KINDS.get(scheme) if colon else None
    if kind is None:
        others = installed(SOURCES)
        if colon and scheme in others:
            opened: SensorSource = open_installed(SOURCES, scheme, rest, ("describe", "samples"))
            return opened
        hint = nearest_name(scheme, [*_KINDS, *others])
        usage = "; ".join([*(k.form for k in _KINDS.values()), *(f"{s}:..." for s in others)])
        shown = without_password(uri)
        raise InputError(f"{shown!r} names no source{hint}. Known forms: {usage}")
    if not rest and not kind.may_be_empty:
        raise InputError(f"{uri!r} lacks a path; give {kind.form}")
    if kind.is_path and not Path(rest).exists():
        raise InputError(f"no such file or folder; give {kind.form}", rest)
    return kind.open(rest)
