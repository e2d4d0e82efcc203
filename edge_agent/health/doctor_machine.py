"""The doctor's checks of the machine: disk, bus, power, service manager, processor."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contracts.clock import SystemClock
from contracts.errors import InputError
from edge_agent.config import MetricsConfig
from edge_agent.power.step import PowerReading, PowerSource

PATIENCE_S = 3.0
BLOCK_BYTES = 4096
CPUS = Path("/sys/devices/system/cpu")
SLOW_GOVERNORS = frozenset({"powersave", "conservative"})
DRIVER_CHOOSES = frozenset({"intel_pstate", "amd-pstate-epp", "amd_pstate_epp"})
"""Drivers that choose by load under the name `powersave`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer. `advice` is what to do about it."""

    check: str
    level: Literal["ok", "warn", "fail"]
    detail: str
    advice: str = ""

    @property
    def ok(self) -> bool:
        """Whether the agent can run."""
        return self.level != "fail"


@dataclass(frozen=True, slots=True)
class Remark:
    """What a check answers when it is no failure, but not as it should be."""

    detail: str
    advice: str


def direct_writes(folder: Path) -> str | Remark:
    """Whether the file system of the state folder takes writes past the page cache."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".doctor-direct"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_DIRECT", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
        try:
            with mmap.mmap(-1, BLOCK_BYTES) as aligned:
                os.write(descriptor, aligned)
        finally:
            os.close(descriptor)
    except OSError as error:
        return Remark(
            f"{folder} takes no O_DIRECT writes: {error.strerror}",
            "put the state on ext4, XFS or btrfs: clips then leave other caches alone",
        )
    finally:
        path.unlink(missing_ok=True)
    return f"{folder} takes O_DIRECT writes"


def metrics_port(config: MetricsConfig) -> str:
    """Raises `InputError` or `OSError` for what keeps metrics from being served."""
    if config.port is None:
        return "none configured"
    from edge_agent.health.metrics_server import exposition

    exposition(())
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            raise InputError(
                f"port {config.port} is taken ({error.strerror}): choose another, or stop the agent"
                " that runs",
                "metrics.port",
            ) from error
    return f"{config.host}:{config.port} is free"


def network_manager(bus: str, patience_s: float = PATIENCE_S) -> str | Remark:
    """Ask NetworkManager once. Raises `InputError` when its library is missing."""
    from edge_agent.upload.links_networkmanager import NetworkManagerLink

    link = NetworkManagerLink(bus, SystemClock())

    async def ask() -> None:
        answered = asyncio.Event()
        link.on_change = answered.set
        following = asyncio.create_task(link.run())
        try:
            await asyncio.wait_for(answered.wait(), patience_s)
        except TimeoutError:
            pass
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    asyncio.run(ask())
    if link.answered is None:
        return Remark(
            f"NetworkManager cannot be asked: {link.problem}",
            "nothing is sent before it answers: start it, or use link.file",
        )
    found = link.answered
    return f"NetworkManager says {found.kind}{', metered' if found.metered else ''}"


def reading_of(source: PowerSource, patience_s: float = PATIENCE_S) -> str | Remark:
    """What is known of ignition and supply, after some patience with a bus."""
    reading = asyncio.run(_first_reading(source, patience_s))
    if reading.ignition is None:
        return Remark(
            f"ignition is unknown: {reading.problem or 'not told'}",
            "without it the agent never parks: check [power]",
        )
    told = [f"ignition {'on' if reading.ignition else 'off'}"]
    if reading.supply_v is not None:
        told.append(f"{reading.supply_v:g} V")
    if reading.temperature_c is not None:
        told.append(f"{reading.temperature_c:g} °C")
    return ", ".join(told)


async def _first_reading(source: PowerSource, patience_s: float) -> PowerReading:
    clock = SystemClock()
    until_ns = clock.mono_ns() + round(patience_s * 1e9)
    reading = source.read()
    while reading.ignition is None and clock.mono_ns() < until_ns:
        await clock.sleep_ns(50_000_000)
        reading = source.read()
    return reading


def service_manager(environment: Mapping[str, str]) -> str | Remark:
    """Whether a hang would be noticed."""
    if "INVOCATION_ID" not in environment and "NOTIFY_SOCKET" not in environment:
        return "not run by one now"
    if "NOTIFY_SOCKET" not in environment:
        return Remark("run by systemd, which is not told anything", "set Type=notify in the unit")
    if "WATCHDOG_USEC" not in environment:
        return Remark("no watchdog: a hang goes unnoticed", "set WatchdogSec= in the unit")
    return f"watches every {int(environment['WATCHDOG_USEC']) / 1e6:g} s"


def governors(cpus: Path = CPUS) -> str | Remark:
    """Whether the processor's clock follows the load quickly enough for a frame."""
    slow = set()
    found = sorted(cpus.glob("cpu[0-9]*/cpufreq"))
    for folder in found:
        try:
            governor = (folder / "scaling_governor").read_text().strip()
            driver = (folder / "scaling_driver").read_text().strip()
        except OSError:
            continue
        if governor in SLOW_GOVERNORS and driver not in DRIVER_CHOOSES:
            slow.add(governor)
    if slow:
        return Remark(
            f"the governor is {', '.join(sorted(slow))}: frames take longer than they need",
            "cpupower frequency-set -g schedutil (or performance)",
        )
    return f"{len(found)} processors, none held back" if found else "this system tells nothing"
