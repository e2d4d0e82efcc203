"""Opens a source by its address, `scheme:rest`; each dataset's imports load only when used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.errors import InputError
from contracts.signals import nearest_name
from edge_agent.ports import SensorSource


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


_OPENERS: dict[str, tuple[Callable[[str], SensorSource], str]] = {
    "comma2k19": (_comma2k19, "comma2k19:SEGMENT_FOLDER"),
    "kitti": (_kitti, "kitti:FOLDER"),
    "mcap": (_mcap, "mcap:CLIP_FILE"),
    "sim": (_sim, "sim: or sim:seed=3,duration_s=60"),
}


def open_source(uri: str) -> SensorSource:
    """The source that `uri` names. Raises `InputError` saying what would be right."""
    scheme, colon, rest = uri.partition(":")
    usage = "; ".join(form for _, form in _OPENERS.values())
    if not colon or scheme not in _OPENERS:
        hint = nearest_name(scheme, _OPENERS)
        raise InputError(f"{uri!r} names no source{hint}. Known forms: {usage}")
    opener, form = _OPENERS[scheme]
    if not rest and scheme != "sim":
        raise InputError(f"{uri!r} lacks a path; give {form}")
    if scheme != "sim" and not Path(rest).exists():
        raise InputError(f"no such file or folder; give {form}", rest)
    return opener(rest)
