"""Drives as recipes name them: a scenario, seeds, and what is otherwise than the scenario says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from contracts.errors import InputError
from contracts.spec_yaml import LocatedYaml
from sim_fleet.scenarios.library import built_in
from sim_fleet.scenarios.spec import (
    EgoSpec,
    ScenarioSpec,
    Strict,
    TrafficSpec,
    WeatherSpec,
    merged,
)


class SomeDrives(Strict):
    """Some drives of one scenario. `seeds` are the first and how many."""

    scenario: str
    seeds: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1, le=10_000)]]
    seconds: float = Field(20.0, ge=2.0, le=600.0)
    traffic: TrafficSpec | None = None
    weather: WeatherSpec | None = None
    tod: Literal["day", "dusk", "night", "glare"] | None = None
    ego: EgoSpec | None = None
    vehicle_type: Literal["car", "van", "truck"] = "car"

    def all_seeds(self) -> range:
        first, count = self.seeds
        return range(first, first + count)

    def staged(self) -> ScenarioSpec:
        """The scenario with this recipe's own words laid over it. Raises `InputError` for one that
        is unknown.
        """
        scenario = built_in().scenario(self.scenario)
        over = {
            name: value
            for name in ("traffic", "weather", "tod", "ego")
            if (value := getattr(self, name)) is not None
        }
        if not over:
            return scenario
        return merged(scenario, scenario.model_construct(_fields_set=set(over), **over))

    def single(self, sensors: str) -> Iterator[SingleDrive]:
        """Each drive by itself."""
        scenario = self.staged()
        for seed in self.all_seeds():
            yield SingleDrive(
                scenario=scenario, seed=seed, sensors=sensors, seconds=self.seconds,
                vehicle_type=self.vehicle_type,
            )  # fmt: skip


class SingleDrive(Strict):
    """One drive; `scenario` as it is staged, with all that it builds on."""

    scenario: ScenarioSpec
    seed: int
    sensors: str
    seconds: float
    vehicle_type: str

    @property
    def name(self) -> str:
        return drive_name(self.scenario, self.seed)


def drive_name(scenario: ScenarioSpec, seed: int) -> str:
    """What a drive is called, its folder too."""
    return f"{scenario.id}-{seed}"


def check_drives(drives: Iterable[SomeDrives], located: LocatedYaml) -> None:
    """Raises `InputError`, with line and column, for a scenario that nobody knows, and for two
    drives of one name.
    """
    taken: set[str] = set()
    for number, some in enumerate(drives):
        try:
            scenario = some.staged()
        except InputError as error:
            place = located.place(("drives", number, "scenario"))
            raise InputError(error.message, place) from error
        for name in (drive_name(scenario, seed) for seed in some.all_seeds()):
            if name in taken:
                raise InputError(
                    f"{name} is driven already: another seed, please",
                    located.place(("drives", number, "seeds")),
                )
            taken.add(name)
