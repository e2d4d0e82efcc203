"""What a trial drives: `longtail/trials/v1`, a YAML file of drives by slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from contracts.ids import Name
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from sim_fleet.drives import SingleDrive, SomeDrives, check_drives
from sim_fleet.scenarios.spec import Strict

RECIPES = Path(__file__).parent / "recipes"


class TrialDrives(SomeDrives):
    """Drives of one slice: what they have in common in a report."""

    slice: Name


class TrialsSpec(Strict):
    """A recipe of trials, with the sensor set that all vehicles carry."""

    version: Literal["longtail/trials/v1"] = Field(alias="apiVersion")
    name: Name
    sensors: Literal["s", "m"] = "s"
    drives: tuple[TrialDrives, ...] = Field(min_length=1)

    def single(self) -> Iterator[tuple[str, SingleDrive]]:
        """Each drive by itself with its slice, in the recipe's order."""
        for some in self.drives:
            yield from ((some.slice, drive) for drive in some.single(self.sensors))


def read_trials(path: Path) -> TrialsSpec:
    """A recipe from its YAML file. Raises `InputError` with file, line and column."""
    located = parse_yaml(read_text(path), str(path))
    spec = validate_located(TrialsSpec, located)
    check_drives(spec.drives, located)
    return spec
