"""All that labels of a clip depend on beside what was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.geometry import Frozen
from offline.labels.auto.parameters import ClassParameters
from offline.labels.calibration.calibrator import Calibrator, read_calibrator
from offline.labels.clips.ground import GroundFusion
from offline.labels.clips.light import LightFusion

Share = Annotated[float, Field(ge=0, le=1)]
TEACHER = Path(__file__).parent / "teacher.json"
"""For the shipped teacher, chosen and fitted on simulated drives by `bench/label_sim_tuning.py`."""
CALIBRATION = "calibration"


class ClipParameters(Frozen):
    """`tracks` of the tracker's class of each class group; `seen_from` is the raw score from
    which a detection counts, `edge_m` how far it lies within the teacher's grid. A box is taught
    from the confidence on that `taught_from` has for its class, ignored from `ignored_from` on,
    and left out below.
    """

    tracks: tuple[ClassParameters, ...] = Field(min_length=1)
    seen_from: Share = 0.05
    edge_m: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    taught_from: dict[str, Share]
    ignored_from: Share = 0.1
    ground: GroundFusion = GroundFusion()
    light: LightFusion

    @model_validator(mode="after")
    def _in_order(self) -> ClipParameters:
        names = [one.class_name for one in self.tracks]
        if len(set(names)) != len(names):
            raise ValueError("tracks: a class is there twice")
        if set(self.taught_from) != set(names):
            raise ValueError("taught_from is there for each class of the tracks")
        if self.ignored_from > min(self.taught_from.values()):
            raise ValueError("ignored_from is not above taught_from")
        return self

    def by_class(self) -> dict[str, ClassParameters]:
        """As the tracker takes them."""
        return {one.class_name: one for one in self.tracks}


def read_clip_parameters(path: Path = TEACHER) -> tuple[ClipParameters, Calibrator]:
    """The parameters of a file, and the calibrator of the file beside it: of `NAME.json`,
    `NAME.calibration.json`. Raises `InputError` with the file and the field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None
    try:
        parameters = ClipParameters.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], f"{path}: {field}" if field else str(path)) from None
    return parameters, read_calibrator(calibration_file(path))


def calibration_file(path: Path) -> Path:
    """The file of the calibrator that belongs to a file of parameters."""
    return path.with_suffix(f".{CALIBRATION}.json")


def parameters_digest(parameters: ClipParameters, calibrator: Calibrator) -> str:
    """Of both."""
    return canonical_digest(
        {"parameters": parameters.model_dump(mode="json"), CALIBRATION: calibrator.digest}
    )
