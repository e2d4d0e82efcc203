"""What a turn would compute, and what that would cost by what earlier turns took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from contracts.errors import CorruptError, InputError
from offline.pipeline.records import RECORD_FILE, StageRecord, read_record
from offline.pipeline.table import TABLE, Stage, StageName
from offline.pipeline.turn import LoopFolder, Runner

_UNITS: Mapping[StageName, tuple[str, ...]] = {
    "ingest": ("clips",), "acquire": ("chosen",), "label": ("clips",), "review": ("drives",),
    "dataset": ("clips",), "train": ("epoch_frames", "epochs"),
}  # fmt: skip
"""Figures whose product says how much work a stage had; the others always cost about the same."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A stage of the turn that is asked about. `cpu_s` None: no earlier turn tells, or it costs
    nothing because it is done.
    """

    stage: Stage
    state: str
    key: str | None = None
    cpu_s: float | None = None
    told: str = ""


def planned(runner: Runner) -> list[Planned]:
    """The table as it stands for a turn; nothing is computed.

    What lies behind a stage that would be computed cannot be known: its key follows from products
    that are not there yet.
    """
    found: list[Planned] = []
    keys: dict[StageName, str] = {}
    history = _history(runner.folder)
    ends = False
    for stage in TABLE:
        if ends:
            found.append(_costed(stage, "to be computed", None, history))
            continue
        key = runner.key(stage, keys)
        record = runner.folder.record(stage.name, key)
        if record is None:
            ends = True
            found.append(_costed(stage, "to be computed", key, history))
            continue
        found.append(Planned(stage, record.state, key, None, record.why))
        if record.state != "done":
            break
        keys[stage.name] = key
    return found


def _costed(
    stage: Stage, state: str, key: str | None, history: Mapping[StageName, list[StageRecord]]
) -> Planned:
    records = history.get(stage.name, [])
    if not records:
        return Planned(stage, state, key, None, "no earlier turn tells what it costs")
    last = records[-1]
    amount = " x ".join(
        f"{last.figures[name]} {name.replace('_', ' ')}"
        for name in _UNITS.get(stage.name, ()) if _is_number(last.figures.get(name))
    )  # fmt: skip
    told = f"the last took {last.wall_s:.0f} s" + (f" for {amount}" if amount else "")
    return Planned(stage, state, key, last.cpu_s, told)


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _history(folder: LoopFolder) -> dict[StageName, list[StageRecord]]:
    """Records that can be read, oldest first."""
    found: dict[StageName, list[StageRecord]] = {}
    for path in (folder.path / "stages").glob(f"*/*/{RECORD_FILE}"):
        try:
            record = read_record(path)
        except (CorruptError, InputError):
            continue
        if record is not None:
            found.setdefault(record.stage, []).append(record)
    for records in found.values():
        records.sort(key=lambda record: record.ended_utc_ns)
    return found
