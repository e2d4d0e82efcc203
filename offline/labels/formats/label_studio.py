"""Frame labels and review tasks for Label Studio: pre-labelled 2D boxes over camera pictures.

Label Studio has no cuboid. A region is the 2D box around a cuboid in one picture; its id is
`box-` and the box's place, and the task's own data keeps, under `longtail`, what was shown where,
because only a task's data come back as they went out. A verdict is asked for each picture:

| choice      | means                                                            |
|-------------|------------------------------------------------------------------|
| accept      | all as it is, save classes that were changed and boxes deleted   |
| adjust      | an object is there, the box does not fit: an expert has to look  |
| reject      | no object (one track shown), or an unusable picture              |
| cannot_tell | nobody can say by this picture                                   |

What comes back is read by `label_studio_reader`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from contracts.geometry import Taxonomy
from contracts.ids import sha256_hex
from contracts.labels import FrameLabels, LabelledBox, labels_bytes
from contracts.samples import CalibrationSample
from offline.labels.formats.coco import Pictured, PicturedDrive
from offline.labels.formats.projection import Px, shown_in

BOX, IMAGE, VERDICT = "box", "image", "verdict"
VERDICTS = ("accept", "adjust", "reject", "cannot_tell")
_COLOURS = (
    "#4363d8", "#f58231", "#911eb4", "#e6194b", "#3cb44b", "#42d4f4", "#9a6324", "#808000",
    "#f032e6",
)  # fmt: skip
Json = dict[str, Any]


def label_config(taxonomy: Taxonomy) -> str:
    """The labelling interface, to be pasted into a Label Studio project."""
    labels = "".join(
        f"    <Label value={quoteattr(one.name)} background={quoteattr(colour)}/>\n"
        for one, colour in zip(taxonomy.classes, _COLOURS * len(taxonomy.classes), strict=False)
    )
    choices = "".join(f"    <Choice value={quoteattr(verdict)}/>\n" for verdict in VERDICTS)
    return (
        "<View>\n"
        f'  <Image name="{IMAGE}" value="$image" zoom="true"/>\n'
        f'  <RectangleLabels name="{BOX}" toName="{IMAGE}" canRotate="false">\n{labels}'
        "  </RectangleLabels>\n"
        f'  <Choices name="{VERDICT}" toName="{IMAGE}" choice="single" required="true"'
        f' showInline="true">\n{choices}  </Choices>\n'
        "</View>\n"
    )


def frame_digest(frame: FrameLabels) -> str:
    """By which an answer is tied to the labels that it was given on."""
    return sha256_hex(labels_bytes(frame))


def drive_tasks(drives: Sequence[PicturedDrive], image_prefix: str = "") -> list[Json]:
    """A task for each picture of each labelled frame, all of its boxes shown."""
    tasks = []
    for drive in drives:
        frames = {frame.record.mono_ns: frame for frame in drive.sequence.frames}
        for picture in drive.pictures:
            frame = frames[picture.instant_ns]
            own = {
                "kind": "frame", "drive_id": drive.sequence.drive_id,
                "labels_digest": frame_digest(frame),
            }  # fmt: skip
            boxes = dict(enumerate(frame.record.boxes))
            tasks.append(
                picture_task(picture, drive.cameras[picture.channel], boxes, own, image_prefix)
            )
    return tasks


def picture_task(
    picture: Pictured,
    camera: CalibrationSample,
    boxes: Mapping[int, LabelledBox],
    own: Json,
    image_prefix: str = "",
) -> Json:
    """One task over one picture; `own` says what it is of, and comes back as it is."""
    regions = {}
    for place, labelled in boxes.items():
        shown = shown_in(labelled.box, camera)
        if shown is not None:
            regions[region_id(place)] = _region(place, labelled, shown.box_px, camera)
    makers = sorted({
        one.provenance.made_by for one in boxes.values() if one.provenance is not None
    })  # fmt: skip
    return {
        "data": {
            "image": image_prefix + picture.file_name,
            "longtail": own
            | {
                "mono_ns": picture.instant_ns, "channel": picture.channel,
                "width": camera.width, "height": camera.height,
                "regions": {
                    name: {"place": region["place"], "class": region["class"],
                           "box_px": region["box_px"]}
                    for name, region in regions.items()
                },
            },
        },
        "predictions": [
            {
                "model_version": ", ".join(makers) or "longtail",
                "result": [_result(name, region, camera) for name, region in regions.items()],
            }
        ],
    }  # fmt: skip


def region_id(place: int) -> str:
    return f"box-{place}"


def _region(place: int, labelled: LabelledBox, box_px: Px, camera: CalibrationSample) -> Json:
    solid = labelled.box
    track = "no track" if solid.track_id is None else f"track {solid.track_id}"
    x, y, _ = solid.centre_m
    return {
        "place": place, "class": solid.class_name, "box_px": list(box_px),
        "score": labelled.confidence,
        "note": f"{track}, {x:.1f} m ahead, {y:.1f} m to the left"
                + (", ignored" if labelled.ignored else ""),
    }  # fmt: skip


def _result(name: str, region: Json, camera: CalibrationSample) -> Json:
    left, top, right, bottom = region["box_px"]
    return {
        "id": name,
        "type": "rectanglelabels",
        "from_name": BOX,
        "to_name": IMAGE,
        "original_width": camera.width,
        "original_height": camera.height,
        "image_rotation": 0,
        "score": region["score"],
        "meta": {"text": [region["note"]]},
        "value": {
            "x": 100 * left / camera.width,
            "y": 100 * top / camera.height,
            "width": 100 * (right - left) / camera.width,
            "height": 100 * (bottom - top) / camera.height,
            "rotation": 0,
            "rectanglelabels": [region["class"]],
        },
    }
