"""Which of the sensors speak: what a source names is listened for, for some seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from contracts.channels import signal_channel
from contracts.errors import InputError, LongtailError
from edge_agent.drive.door import channel_of
from edge_agent.health.doctor_machine import Remark
from edge_agent.ports import CountingSource, LiveSource, SourceDescription
from edge_agent.sources.registry import open_source

PATIENCE_S = 5.0
STOPS_WITHIN_S = 5.0
MOST_NAMED = 6


def sensors(address: str | None, patience_s: float = PATIENCE_S) -> str | Remark:
    """What the source at an address gives. Raises `LongtailError` for one that cannot be."""
    if address is None:
        return "none configured: name them with source, or --source"
    source = open_source(address)
    told = source.describe()
    if not isinstance(source, LiveSource):
        if next(iter(source.samples()), None) is None:
            raise InputError("the recording holds no sample", address)
        return f"a recording of {_counted(told)}"
    heard = _heard(source, _channels(told), patience_s)
    silent = [channel for channel in _channels(told) if channel not in heard]
    if not silent:
        return f"{_counted(told)} heard"
    counts = source.counts if isinstance(source, CountingSource) else {}
    left_out = [f"{reason} ({count})" for reason, count in sorted(counts.items()) if count]
    why = f"; left out: {_listed(left_out)}" if left_out else ""
    return Remark(
        f"{len(heard)} of {len(_channels(told))} heard, silent: {_listed(silent)}{why}",
        "the agent waits for them and drives with the others: see to power and cables",
    )


def _heard(source: LiveSource, channels: Iterable[str], patience_s: float) -> set[str]:
    """The channels that spoke in time; over as soon as all have."""
    awaited, heard = set(channels), set[str]()

    def listen() -> None:
        try:
            for sample in source.samples():
                channel = channel_of(sample)
                if channel in awaited:
                    heard.add(channel)
                if len(heard) == len(awaited):
                    return
        except LongtailError:
            return  # what was heard before counts; the rest is told as silent

    # No thread that the process waits for: a driver may block a read for long.
    listener = threading.Thread(target=listen, name="doctor-sensors", daemon=True)
    listener.start()
    listener.join(patience_s)
    source.stop()
    listener.join(STOPS_WITHIN_S)
    return set(heard)


def _channels(told: SourceDescription) -> list[str]:
    signals = [signal_channel(name) for name in sorted(told.signals)]
    return [*told.camera_channels, *told.lidar_channels, *signals]


def _counted(told: SourceDescription) -> str:
    counts = {
        "cameras": len(told.camera_channels), "lidars": len(told.lidar_channels),
        "signals": len(told.signals),
    }  # fmt: skip
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "no sensor"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
