"""A recorded source: the speed of a vehicle from a CSV file.

Copy this file, then replace what reads the CSV. Register the opener in your package:

    [project.entry-points."longtail.sources"]
    speedlog = "my_package.source:open_speed_log"

and run it as `longtail agent run --source speedlog:drive.csv`.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import CorruptError, InputError
from contracts.samples import Sample, SignalSample
from edge_agent.ports import SourceDescription

_COLUMNS = ["time_s", "speed_kmh"]


class SpeedLogSource:
    """`SensorSource` over one CSV file with the columns `time_s` and `speed_kmh`."""

    def __init__(self, path: Path) -> None:
        # Check here what can be checked cheaply: a wrong address must fail at the start.
        if not path.is_file():
            raise InputError("no such file; give speedlog:CSV_FILE", str(path))
        with path.open(newline="") as file:
            header = next(csv.reader(file), [])
        if header != _COLUMNS:
            raise InputError(f"the columns are {header}, expected {_COLUMNS}", f"{path}:1")
        self._path = path

    def describe(self) -> SourceDescription:
        # The same recording must always get the same boot id, and another one another: the
        # agent knows by it which events it has told already.
        digest = hashlib.sha256(self._path.read_bytes()).hexdigest()[:12]
        return SourceDescription(
            drive_id=self._path.stem,
            boot_id=f"speedlog-{digest}",
            utc_minus_mono_ns=0,  # wall time minus monotonic time, where it is known
            clock=ClockQuality(synchronised=False, source="none"),
            signals=frozenset({"ego.speed_mps"}),  # all that comes, and nothing else
        )

    def samples(self) -> Iterator[Sample]:
        # Read as you go, start anew with each call, never go back in time.
        newest_ns = 0
        with self._path.open(newline="") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                place = f"{self._path}:{line}"
                try:
                    at_ns = round(float(row["time_s"]) * NS_PER_S)
                    speed_mps = float(row["speed_kmh"]) / 3.6  # the catalogue's unit
                except (TypeError, ValueError) as error:
                    raise CorruptError(f"not a whole line: {row}", place) from error
                if at_ns < newest_ns:
                    raise CorruptError("time goes back", place)
                newest_ns = at_ns
                yield SignalSample("ego.speed_mps", at_ns, speed_mps)


def open_speed_log(rest: str) -> SpeedLogSource:
    """The entry point: `rest` is what follows `speedlog:`."""
    return SpeedLogSource(Path(rest))
