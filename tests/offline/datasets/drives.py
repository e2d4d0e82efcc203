"""Labelled drives: small clips, with a label file for each of some instants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from contracts.clip import Cause, ClipManifest, ClipSummary, Window
from contracts.clock import ClockQuality
from contracts.geometry import Box3D
from contracts.ids import EventKey
from contracts.labels import FrameLabels, FrameRecord, LabelledBox, Provenance, labels_bytes
from contracts.samples import SignalSample
from kernels.clip.encoding import encode_sample
from kernels.clip.writer import write_clip

OFFSET_NS = 1_700_000_000_000_000_000
SPEC = "ab" * 32


def write_drive(
    folder: Path, instants_ns: Sequence[int], start_ns: int = 0, end_ns: int = 1000,
    vehicle: str = "v1", drive: str = "d1", source: str = "auto", boxes: int = 2,
    lat_deg: float | None = None, taxonomy: int = 1, inclusion: float | None = None,
    tags: dict[str, str] | None = None, x_m: float = 10.0,
) -> Path:  # fmt: skip
    """`folder/clip.mcap` from `start_ns` to `end_ns`, and labels; each box is of `source`. With
    `inclusion` it is of the random stream. The vehicle knew the time of day, if `tags` tell it.
    """
    (folder / "labels").mkdir(parents=True)
    window = Window(start_mono_ns=start_ns, end_mono_ns=end_ns)
    kind = "hard_brake" if inclusion is None else "random"
    cause = Cause(
        trigger_id="hard-brake", trigger_version=2, spec_digest=SPEC, kind=kind,
        fired_mono_ns=end_ns, start_mono_ns=start_ns, end_mono_ns=end_ns, score=1.0,
    )  # fmt: skip
    manifest = ClipManifest(
        event=EventKey(
            vehicle_id=vehicle, boot_id=f"boot-{drive}", start_mono_ns=start_ns, end_mono_ns=end_ns
        ),
        drive_id=drive, software_version="0.1.0", causes=(cause,),
        stream="triggered" if inclusion is None else "random", inclusion_probability=inclusion,
        requested=window, actual=window, utc_minus_mono_ns=OFFSET_NS,
        clock=ClockQuality(synchronised=True),
        summary=ClipSummary(
            tod=(tags or {}).get("tod"), lat_deg=lat_deg, lon_deg=None if lat_deg is None else 8.5
        ),
    )  # fmt: skip
    speeds = [SignalSample("ego.speed_mps", at, at / 100) for at in (start_ns, end_ns)]
    with (folder / "clip.mcap").open("wb") as stream:
        write_clip(stream, manifest, [encode_sample(each, OFFSET_NS) for each in speeds], {})
    for mono_ns in instants_ns:
        path = folder / f"labels/{mono_ns}.npz"
        path.write_bytes(label_file(mono_ns, drive, source, boxes, taxonomy, tags, x_m))
    return folder


def label_file(
    mono_ns: int, drive: str = "d1", source: str = "auto", boxes: int = 2, taxonomy: int = 1,
    tags: dict[str, str] | None = None, x_m: float = 10.0,
) -> bytes:  # fmt: skip
    box = Box3D(
        class_name="car", centre_m=(x_m, 0.0, 1.0), size_m=(4.0, 2.0, 1.5), yaw_rad=0.0,
        velocity_mps=None, frame="ego",
    )  # fmt: skip
    record = FrameRecord.model_validate({
        "taxonomy_version": taxonomy, "drive_id": drive, "mono_ns": mono_ns,
        "tags": tags or {},
        "boxes": [LabelledBox(box=box).model_dump()] * boxes,
        "provenance": Provenance.model_validate({"source": source, "made_by": "tests"}),
    })  # fmt: skip
    return labels_bytes(FrameLabels(record))
