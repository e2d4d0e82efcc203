"""The frozen scenario suite: what a model must see in situations that never change.

People write the recipe: scenarios in safety slices, each a drive and what is asked of a model in
it. The machine freezes it: a digest over what each drive holds and its likeness, so that a suite
made anew anywhere is checked, and a standing. A scenario that a released model passed with
something to spare is a `must`, for good; one that none has passed yet is a `target`, which is
reported and stops nobody.

In a folder a suite is `suite.json` beside a folder for each scenario's drive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError, model_validator

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.geometry import Finite, Frozen
from contracts.ids import Name, Sha256Hex
from contracts.likeness import Likeness

SUITE_FILE = "suite.json"
_MAX_FILE_BYTES = 16 * 1024**2
Standing = Literal["must", "target"]
Metres = Annotated[Finite, Field(gt=0, le=200)]
Share = Annotated[Finite, Field(gt=0, le=1)]


class Told(Frozen):
    """Objects are told: `share` of all (object, frame) pairs in which one is to be seen.

    `who` is a class or a group of classes; a class of the same group is right. An object is to be
    seen within `within_m` of the ego and `beside_m` of the ego's path, where at least `visible`
    of it shows and `points` lidar points lie in it. Right is a detection within 2 m whose velocity
    is off by at most `velocity_mps`, where that is asked. A scenario holds at least `pairs`.
    """

    ask: Literal["told"]
    who: str = Field(min_length=1, max_length=60)
    within_m: Metres
    beside_m: Metres | None = None
    share: Share
    velocity_mps: Metres | None = None
    visible: Share = 0.3
    points: int = Field(5, ge=1)
    pairs: int = Field(3, ge=1)


class Clear(Frozen):
    """Nothing is told where nothing is: in at most `frames` frames is there a detection in the
    ego's corridor, `beside_m` to either side of its path up to `ahead_m`, and no object near it.
    """

    ask: Literal["clear"]
    ahead_m: Metres = 25.0
    beside_m: Metres = 1.5
    frames: int = Field(0, ge=0)


class Light(Frozen):
    """The light that the ego obeys is told right in `share` of the frames that are labelled."""

    ask: Literal["light"]
    share: Share


Ask = Annotated[Told | Clear | Light, Field(discriminator="ask")]


class Scenario(Frozen):
    """`drive` is the recipe of one drive, as the simulator has it; all `asks` must hold."""

    name: Name
    safety_slice: Name = Field(alias="slice")
    drive: dict[str, JsonValue]
    asks: tuple[Ask, ...] = Field(min_length=1)

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _once(names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"scenarios: {twice[0]} comes twice")


class SuiteRecipe(Frozen):
    """What people write: a new `version` with each change."""

    api_version: Literal["longtail/suite/v1"] = Field(alias="apiVersion")
    name: Name
    version: int = Field(ge=1)
    scenarios: tuple[Scenario, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_taken_once(self) -> SuiteRecipe:
        _once([each.name for each in self.scenarios])
        return self


class FrozenScenario(Frozen):
    """A scenario with the digest of what its drive holds (`kernels.clip.content`), and the
    folder in which that drive lies. A drive that other arithmetic made is known by its `likeness`;
    without one, as of recorded drives, every bit counts.
    """

    scenario: Scenario
    folder: Name
    frames: Sha256Hex
    likeness: Likeness | None = None
    standing: Standing = "target"

    @property
    def digest(self) -> str:
        """Over the drive, its recipe and what is asked; not over the standing."""
        asked = self.scenario.model_dump(mode="json", by_alias=True)
        return canonical_digest({"scenario": asked, "frames": self.frames})


class FrozenSuite(Frozen):
    """A whole suite. `digest` changes with whatever is in it, standings included; likenesses tell
    only what the digests of drives tell.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: int = Field(ge=1)
    scenarios: tuple[FrozenScenario, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_taken_once(self) -> FrozenSuite:
        _once([each.scenario.name for each in self.scenarios])
        return self

    @property
    def digest(self) -> str:
        beside = {"scenarios": {"__all__": {"likeness"}}}
        return canonical_digest(self.model_dump(mode="json", by_alias=True, exclude=beside))

    def promoted(self, names: Collection[str]) -> FrozenSuite:
        """The suite with more scenarios as `must`; none ever goes back.

        Raises `InputError` for a name that is not in it.
        """
        unknown = set(names) - {each.scenario.name for each in self.scenarios}
        if unknown:
            raise InputError(f"{sorted(unknown)[0]} is not in the suite", self.name)
        return self.model_copy(
            update={
                "scenarios": tuple(
                    each.model_copy(update={"standing": "must"})
                    if each.scenario.name in names else each
                    for each in self.scenarios
                )
            }
        )  # fmt: skip


def suite_text(suite: FrozenSuite) -> str:
    """The file's content: the same suite gives the same text."""
    return suite.model_dump_json(by_alias=True, indent=1) + "\n"


def read_suite(path: Path) -> FrozenSuite:
    """A frozen suite: its file, or the folder that holds it. Raises `InputError`."""
    file = path / SUITE_FILE if path.is_dir() else path
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(f"larger than {_MAX_FILE_BYTES} bytes", str(file))
        return FrozenSuite.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InputError(f"no suite can be read here: {error.strerror}", str(file)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], f"{file}: {where}") from error
