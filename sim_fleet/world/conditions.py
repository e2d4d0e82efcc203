"""Weather, time of day and season, and the light and sight that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Weather = Literal["clear", "rain", "fog"]
TimeOfDay = Literal["day", "dusk", "night", "glare"]
WEATHERS: tuple[Weather, ...] = ("clear", "rain", "fog")
TIMES_OF_DAY: tuple[TimeOfDay, ...] = ("day", "dusk", "night", "glare")

_SUN_ELEVATION_RAD = {"day": 0.75, "dusk": 0.03, "night": -0.5, "glare": 0.13}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the sky is like. `visibility_m` is the range at which contrast falls to 2 %;
    `sun_azimuth_rad` the direction towards the sun, from the world's x axis to the left.
    """

    weather: Weather = "clear"
    tod: TimeOfDay = "day"
    season: str = "summer"
    rain_mm_h: float = 0.0
    visibility_m: float = 4000.0
    sun_azimuth_rad: float = 2.2

    @property
    def dark(self) -> bool:
        """True when vehicles drive with their lamps on."""
        return self.tod in {"night", "dusk"} or self.weather != "clear"

    @property
    def street_lamps(self) -> bool:
        return self.tod in {"night", "dusk"}

    @property
    def extinction_per_m(self) -> float:
        """Koschmieder's law: contrast exp(-x) is 2 % at the visibility."""
        return 3.912 / self.visibility_m

    @property
    def wetness(self) -> float:
        """0 dry to 1 standing water."""
        return min(1.0, self.rain_mm_h / 4.0) if self.weather == "rain" else 0.0

    @property
    def friction(self) -> float:
        """Grip between tyre and road, as a share of a dry road's."""
        return 1.0 - 0.35 * self.wetness - (0.2 if self.season == "winter" else 0.0)

    @property
    def sun_elevation_rad(self) -> float:
        return _SUN_ELEVATION_RAD[self.tod]

    def sun_toward(self) -> tuple[float, float, float]:
        """Unit vector towards the sun."""
        elevation, azimuth = self.sun_elevation_rad, self.sun_azimuth_rad
        flat = float(np.cos(elevation))
        return (
            flat * float(np.cos(azimuth)), flat * float(np.sin(azimuth)), float(np.sin(elevation))
        )  # fmt: skip

    @property
    def sunlight(self) -> float:
        """Direct light, 1 on a clear day."""
        share = {"day": 1.0, "dusk": 0.10, "night": 0.0, "glare": 0.8}[self.tod]
        return share * {"clear": 1.0, "rain": 0.06, "fog": 0.10}[self.weather]

    @property
    def skylight(self) -> float:
        """Light from the sky, 0.45 on a clear day."""
        share = {"day": 0.45, "dusk": 0.085, "night": 0.0035, "glare": 0.30}[self.tod]
        return share * {"clear": 1.0, "rain": 1.15, "fog": 1.25}[self.weather]

    @property
    def exposure(self) -> float:
        """Gain of the cameras: they open up in the dark."""
        return {"day": 1.25, "dusk": 6.0, "night": 16.0, "glare": 1.3}[self.tod] * (
            1.5 if self.weather == "rain" and self.tod in {"day", "glare"} else 1.0
        )

    @property
    def pixel_noise(self) -> float:
        """Standard deviation of the cameras' noise, in grey levels of 255."""
        return {"day": 1.6, "dusk": 4.0, "night": 6.0, "glare": 2.0}[self.tod]


DEFAULT_VISIBILITY_M: dict[str, float] = {"clear": 4000.0, "rain": 1800.0, "fog": 90.0}
