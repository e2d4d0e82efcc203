"""The mapping file: which DBC signal is which signal of the catalogue.

```yaml
apiVersion: longtail/v1
kind: CanMap
dbc: vehicle.dbc
signals:
  ego.speed_mps: {from: MOTION.SPEED}          # the DBC says km/h; converted
  ego.yaw_rate_radps: {from: MOTION.YAW, scale: -1}
  autonomy.engaged: {from: ACC.STATE, states: {ACTIVE: 1, STANDBY: 0, OFF: 0}}
  driver.gas_pressed: {from: PEDALS.GAS, above: 2}
counters:
  MOTION: ALIVE
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from contracts.errors import InputError
from contracts.signals import SIGNAL_INDEX, nearest_name
from contracts.spec_yaml import LocatedYaml, parse_yaml, read_text, validate_located
from contracts.trigger_spec import Strict
from edge_agent.sources.conversion import ConversionRule

Channel = int | str


class CanSignalRule(ConversionRule):
    """Where one catalogued signal comes from."""

    source: str = Field(
        alias="from", pattern=r"^\w+\.\w+$", description="MESSAGE.SIGNAL of the DBC"
    )
    channel: Channel | None = Field(
        None, description="only of this bus, as the log names it: 0, can0; default: the map's"
    )

    @property
    def message(self) -> str:
        return self.source.partition(".")[0]

    @property
    def signal(self) -> str:
        return self.source.partition(".")[2]


class CanMap(Strict):
    """One vehicle's mapping."""

    api_version: Literal["longtail/v1"] = Field(alias="apiVersion")
    kind: Literal["CanMap"]
    dbc: Path | None = Field(None, description="beside this file; the address's dbc= goes first")
    channel: Channel | None = Field(None, description="only frames of this bus; default: all")
    frame_id_mask: int | None = Field(
        None, ge=1, le=0x1FFF_FFFF, description="bits of an id that count, as J1939 needs it"
    )
    signals: dict[str, CanSignalRule] = Field(min_length=1)
    counters: dict[str, str] = Field(
        default_factory=dict,
        description="alive counter of a message: a frame that repeats it is stale and left out",
    )
    invalid_labels: bool = Field(
        True, description="states called SNA, INVALID or NOT_AVAILABLE mean: no value"
    )


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A mapping with the positions of its keys."""

    rules: CanMap
    located: LocatedYaml

    def place(self, *path: str) -> str:
        return self.located.place(path, of_key=True)


def load_map(path: Path) -> LoadedMap:
    """Read a mapping. Raises `InputError` with `file:line:column`."""
    located = parse_yaml(read_text(path), str(path))
    names = located.value.get("signals") if isinstance(located.value, dict) else None
    for name in names if isinstance(names, dict) else ():
        if name not in SIGNAL_INDEX:
            raise InputError(
                f"no signal is called {name!r}{nearest_name(name, SIGNAL_INDEX)}",
                located.place(("signals", name), of_key=True),
            )
    return LoadedMap(validate_located(CanMap, located), located)
