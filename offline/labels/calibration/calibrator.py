"""The artifact: how confident a box's track makes one of it, and what may be accepted unseen.

One JSON file that is its own check: the digest covers all else in it, and a reader refuses
what was fitted for other inputs.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex
from contracts.samples import Float64s
from offline.labels.calibration.boosting import Growth, Trees
from offline.labels.calibration.inputs import CLASS_NAMES, INPUTS, inputs_of
from offline.labels.calibration.links import Link

PUBLISHED = Path(__file__).parent.parent / "auto" / "pointrcnn.calibration.json"
"""For the published PointRCNN detections of KITTI, written by `bench/label_tuning.py`."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Acceptance(Frozen):
    """One group: a class within a range in metres, up to any distance where `high_m` is None.

    From `accept_from` on boxes are accepted with the guarantee of `conformal`, vouched for by the
    group's own tracks, by those of its class at all ranges, or by none: then nothing is accepted.
    From `expected_from` on the precision was kept, which is an estimate and no guarantee; None
    where it nowhere was. `tracks`: how many the guarantee was tested on.
    """

    class_name: str
    low_m: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    high_m: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    vouched_by: Literal["group", "class", "none"]
    accept_from: Share | None
    expected_from: Share | None
    tracks: Count

    @model_validator(mode="after")
    def _told(self) -> Acceptance:
        if (self.accept_from is None) != (self.vouched_by == "none"):
            raise ValueError("a threshold is there exactly where something vouches for it")
        if self.high_m is not None and self.high_m <= self.low_m:
            raise ValueError(f"a range from {self.low_m} to {self.high_m} m is none")
        return self


class Origin(Frozen):
    """What it was fitted to, and how: digests of the judged boxes and of the labeller's
    parameters; from which 3D overlap on a box was right; the `precision` to be kept and the
    `risk` of keeping less.
    """

    samples_digest: Sha256Hex
    parameters_digest: Sha256Hex
    sequences: Annotated[tuple[str, ...], Field(min_length=1)]
    boxes: Count
    tracks: Count
    right_from: Share
    precision: Annotated[float, Field(gt=0, lt=1)]
    risk: Annotated[float, Field(gt=0, lt=1)]
    growth: Growth


class Calibrator(Frozen):
    """Trees over `inputs`, a link to confidence, thresholds by group, and where all is from."""

    schema_version: Literal[1] = 1
    digest: Sha256Hex
    inputs: tuple[str, ...]
    classes: tuple[str, ...]
    origin: Origin
    link: Link
    acceptance: tuple[Acceptance, ...]
    trees: Trees

    @model_validator(mode="after")
    def _consistent(self) -> Calibrator:
        if self.inputs != tuple(INPUTS):
            raise ValueError(f"inputs are {', '.join(INPUTS)}, found {', '.join(self.inputs)}")
        if self.classes != CLASS_NAMES:
            raise ValueError(f"classes are {', '.join(CLASS_NAMES)}, found {self.classes}")
        if self.trees.features != len(INPUTS):
            raise ValueError(f"the trees have {self.trees.features} features of {len(INPUTS)}")
        _check_groups(self.acceptance)
        if self.digest != digest_of(self):
            raise ValueError("the digest is of something else")
        return self

    def confidence(self, features: Float64s, class_name: str) -> Float64s:
        """Probability [n] that boxes of one class are right, of features [n, len(FEATURES)].

        Raises `InputError` for a class that it does not know.
        """
        return self.link.confidence(self.trees.margin(inputs_of(features, class_name)))

    def group(self, class_name: str, range_m: float) -> Acceptance:
        """That a box belongs to. Raises `InputError` for a class that it does not know."""
        for each in self.acceptance:
            far = each.high_m is not None and range_m >= each.high_m
            if each.class_name == class_name and range_m >= each.low_m and not far:
                return each
        raise InputError(f"no group for {class_name} at {range_m} m")


def digest_of(calibrator: Calibrator) -> str:
    """Of everything but the digest."""
    return canonical_digest(calibrator.model_dump(mode="json", exclude={"digest"}))


def sealed(
    origin: Origin, link: Link, acceptance: tuple[Acceptance, ...], trees: Trees
) -> Calibrator:
    """With its digest."""
    unsealed = Calibrator.model_construct(
        schema_version=1, digest="", inputs=tuple(INPUTS), classes=CLASS_NAMES, origin=origin,
        link=link, acceptance=acceptance, trees=trees,
    )  # fmt: skip
    return Calibrator.model_validate(
        {**unsealed.model_dump(mode="json"), "digest": digest_of(unsealed)}
    )


def calibrator_text(calibrator: Calibrator) -> str:
    """The file that `read_calibrator` reads: one line for each part."""
    parts = [
        f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}"
        for name, value in calibrator.model_dump(mode="json").items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read_calibrator(path: Path) -> Calibrator:
    """Raises `InputError` with the file and what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None
    try:
        return Calibrator.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], f"{path}: {field}" if field else str(path)) from None


@cache
def published() -> Calibrator:
    """That for PointRCNN's detections."""
    return read_calibrator(PUBLISHED)


def _check_groups(groups: tuple[Acceptance, ...]) -> None:
    for name in CLASS_NAMES:
        ranges = [(g.low_m, g.high_m) for g in groups if g.class_name == name]
        ends = [low for low, _ in ranges[1:]]
        if not ranges or ranges[0][0] != 0 or [high for _, high in ranges] != [*ends, None]:
            raise ValueError(f"the ranges of {name} do not follow one another from 0 on")
    unknown = {group.class_name for group in groups} - set(CLASS_NAMES)
    if unknown:
        raise ValueError(f"groups of unknown classes: {', '.join(sorted(unknown))}")
