"""What may be asked of the simulated drive: `sim:seed=3,duration_s=60,lidar=0`."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import InputError
from contracts.signals import nearest_name

MIN_DURATION_S = 5.0
MAX_DURATION_S = 7200.0


@dataclass(frozen=True, slots=True)
class SimOptions:
    """One simulated drive: the same options give the same bytes, on every machine alike."""

    seed: int = 0
    duration_s: float = 60.0
    camera: bool = True
    lidar: bool = True

    @property
    def boot_id(self) -> str:
        """Drives that differ in anything are different boots: their events are not the same."""
        left_out = ("" if self.camera else "-nocamera") + ("" if self.lidar else "-nolidar")
        return f"sim-{self.seed}-{self.duration_s:g}s{left_out}"


def parse_options(text: str) -> SimOptions:
    """Options as `name=value`, parted by commas. Raises `InputError` naming the wrong one."""
    given: dict[str, float] = {}
    known = ("seed", "duration_s", "camera", "lidar")
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        if name not in known:
            raise InputError(
                f"no option {name!r}{nearest_name(name, known)}; known: {', '.join(known)}",
                f"sim:{text}",
            )
        try:
            given[name] = float(value)
        except ValueError:
            raise InputError(f"{name} must be a number, not {value!r}", f"sim:{text}") from None
    duration_s = given.get("duration_s", 60.0)
    if not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise InputError(
            f"duration_s must be {MIN_DURATION_S:g} to {MAX_DURATION_S:g}, not {duration_s:g}",
            f"sim:{text}",
        )
    seed = given.get("seed", 0.0)
    if not (0 <= seed < 2**31 and seed == int(seed)):
        raise InputError(f"seed must be a whole number from 0, not {seed:g}", f"sim:{text}")
    for name in ("camera", "lidar"):
        if given.get(name, 1.0) not in (0.0, 1.0):
            raise InputError(f"{name} must be 0 or 1", f"sim:{text}")
    return SimOptions(
        int(seed), duration_s, bool(given.get("camera", 1)), bool(given.get("lidar", 1))
    )
