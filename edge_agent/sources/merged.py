"""Several sources of one vehicle as one drive: `all:vehicle.sources.yaml`.

```yaml
apiVersion: longtail/v1
kind: Sources
sources:
  - address: can:{here}/drive.blf,map={here}/vehicle.can.yaml
  - address: camera:{here}/front.mp4,name=front,start=2026-05-01T12:00:00.25Z
    offset_ms: -12.5
  - address: ros2:{here}/bag
    drop: [ego.speed_mps, /planner/trajectory]
```

Guarantees: samples in the order of time; nothing comes from two sources: what both tell must be
dropped from one of them. Clocks are aligned by wall time where every source knows it, else as
`align` says: nothing is assumed. `{here}` is the file's folder.

Recorded sources are merged as they are read. Live ones each have a thread: a sample waits until
every source has told of its time, but no longer than `patience`; what comes after its time has
been passed on is left out and counted, so that one slow or dead source never stops the others. They
share the machine's clock, so nothing is aligned.

Does not do: notice that two sources tell fixes or the same radar, since descriptions do not say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.geometry import Finite
from contracts.ids import Name, sha256_hex
from contracts.quantities import DurationNs
from contracts.signals import nearest_name
from contracts.spec_yaml import LocatedYaml, parse_yaml, read_text, validate_located
from contracts.trigger_spec import Strict
from edge_agent.ports import LiveSource, SensorSource, SourceDescription
from edge_agent.sources.address import without_password
from edge_agent.sources.merged_live import MergedLiveSource
from edge_agent.sources.merged_parts import MergedSource, Part

_START_NS = NS_PER_S

Align = Literal["wall", "mono", "start"]
OpenSource = Callable[[str], SensorSource]


class Member(Strict):
    """One source of the vehicle."""

    address: str
    offset_ms: Finite = Field(0.0, description="added to its times: minus what its clock is ahead")
    drop: tuple[str, ...] = Field((), description="signals and channels not to take from it")


class SourcesFile(Strict):
    """All sources of one vehicle."""

    api_version: Literal["longtail/v1"] = Field(alias="apiVersion")
    kind: Literal["Sources"]
    drive_id: Name | None = Field(None, description="default: the first source's")
    align: Align | None = Field(
        None,
        description="wall: by wall time (default where all know it); mono: their own monotonic "
        "times are the same clock's; start: all began together",
    )
    patience: DurationNs = Field(
        500_000_000, ge=1_000_000, description="longest that live sources wait for each other"
    )
    sources: tuple[Member, ...] = Field(min_length=1)


def open_merged(rest: str, open_source: OpenSource) -> MergedSource | MergedLiveSource:
    """`all:FILE`. Raises `InputError` at the entry that is wrong."""
    path = Path(rest)
    located = parse_yaml(read_text(path), str(path))
    file = validate_located(SourcesFile, located)
    here = str(path.parent)
    opened: list[tuple[Member, SensorSource, SourceDescription]] = []
    for number, member in enumerate(file.sources):
        address = member.address.replace("{here}", here)
        if address.partition(":")[0] == "all":
            raise InputError("sources do not nest", located.place(("sources", number, "address")))
        try:
            source = open_source(address)
        except InputError as error:
            place = located.place(("sources", number, "address"))
            raise InputError(str(error), place) from error
        opened.append((member, source, source.describe()))
    live = [isinstance(source, LiveSource) for _, source, _ in opened]
    if any(live) and not all(live):
        place = located.place(("sources", live.index(not live[0]), "address"))
        raise InputError("live and recorded sources cannot be one drive", place)
    align: Align = "mono" if all(live) else _alignment([t for _, _, t in opened], file, located)
    parts = _parts(opened, align, located)
    told = _joined(parts, file, located)
    if all(live):
        return MergedLiveSource(parts, told, file.patience)
    return MergedSource(parts, told)


def _parts(
    opened: Sequence[tuple[Member, SensorSource, SourceDescription]],
    align: Align,
    located: LocatedYaml,
) -> list[Part]:
    """Members on one clock: with wall time that of the earliest, so that nothing is before 0."""
    base_ns = min(told.utc_minus_mono_ns for _, _, told in opened)
    parts = []
    for number, (member, source, told) in enumerate(opened):
        kept = _without(told, member.drop, located, number)
        shift_ns = round(member.offset_ms * 1e6)
        if align == "wall":
            shift_ns += told.utc_minus_mono_ns - base_ns
            kept = replace(kept, utc_minus_mono_ns=base_ns)
        elif align == "start" and number:
            shift_ns += _first_ns(opened[0][1]) - _first_ns(source)
        parts.append(
            Part(without_password(member.address), source, kept, frozenset(member.drop), shift_ns)
        )
    return parts


def _first_ns(source: SensorSource) -> int:
    first = next(iter(source.samples()), None)
    return first.mono_ns if first is not None else _START_NS


def _alignment(told: Sequence[SourceDescription], file: SourcesFile, located: LocatedYaml) -> Align:
    place = located.place(("align",))
    blind = [n for n, one in enumerate(told) if one.clock.source == "none"]
    if file.align == "wall" and blind:
        names = ", ".join(without_password(file.sources[n].address) for n in blind)
        raise InputError(f"align: wall, but wall time is unknown to {names}", place)
    if file.align is not None:
        return file.align
    if blind and len(told) > 1:
        names = ", ".join(without_password(file.sources[n].address) for n in blind)
        raise InputError(
            f"wall time is unknown to {names}: say how clocks fit, by align: mono or align: start "
            "(and offset_ms)",
            place,
        )
    return "wall"


def _without(
    told: SourceDescription, drop: Sequence[str], located: LocatedYaml, number: int
) -> SourceDescription:
    """A description after what is dropped. Raises `InputError` for what is not there."""
    flags = {"/pose": told.has_pose, "/planner/trajectory": told.has_plan}
    channels = [*told.camera_channels, *told.lidar_channels]
    known = {*told.signals, *channels, *(name for name, has in flags.items() if has), "/gnss/fix"}
    if told.has_radar:
        known.add("/radar")
    for index, name in enumerate(drop):
        if name not in known and not name.startswith("/radar/"):
            raise InputError(
                f"this source has no {name!r}{nearest_name(name, known)}",
                located.place(("sources", number, "drop", index)),
            )
    return replace(
        told,
        signals=told.signals - set(drop),
        camera_channels=tuple(c for c in told.camera_channels if c not in drop),
        lidar_channels=tuple(c for c in told.lidar_channels if c not in drop),
        has_pose=told.has_pose and "/pose" not in drop,
        has_plan=told.has_plan and "/planner/trajectory" not in drop,
        has_radar=told.has_radar and not any(name.startswith("/radar/") for name in drop),
    )


def _channels(told: SourceDescription) -> set[str]:
    flags = {"/pose": told.has_pose, "/planner/trajectory": told.has_plan}
    return {
        *told.signals, *told.camera_channels, *told.lidar_channels,
        *(name for name, has in flags.items() if has),
    }  # fmt: skip


def _joined(parts: Sequence[Part], file: SourcesFile, located: LocatedYaml) -> SourceDescription:
    """One description of all. Raises `InputError` for what two sources tell."""
    owner: dict[str, int] = {}
    labels: dict[str, str] = {}
    for number, part in enumerate(parts):
        place = located.place(("sources", number, "address"))
        for channel in sorted(_channels(part.told)):
            if channel in owner:
                raise InputError(
                    f"{channel} comes from this source and from {parts[owner[channel]].address}: "
                    f"drop it from one of them (drop: [{channel}])",
                    place,
                )
            owner[channel] = number
        for key, value in part.told.labels.items():
            if labels.setdefault(key, value) != value:
                raise InputError(f"label {key} is {labels[key]!r} and {value!r}", place)
    first = parts[0].told
    boots = sorted({part.told.boot_id for part in parts})
    boot_id = boots[0] if len(boots) == 1 else f"all-{sha256_hex(' '.join(boots).encode())[:20]}"
    worst = min(parts, key=lambda part: part.told.clock.synchronised).told.clock
    return SourceDescription(
        drive_id=file.drive_id or first.drive_id,
        boot_id=boot_id,
        utc_minus_mono_ns=first.utc_minus_mono_ns,
        clock=worst,
        signals=frozenset().union(*(part.told.signals for part in parts)),
        camera_channels=tuple(c for part in parts for c in part.told.camera_channels),
        lidar_channels=tuple(c for part in parts for c in part.told.lidar_channels),
        has_pose=any(part.told.has_pose for part in parts),
        has_plan=any(part.told.has_plan for part in parts),
        has_radar=any(part.told.has_radar for part in parts),
        labels=labels,
    )
