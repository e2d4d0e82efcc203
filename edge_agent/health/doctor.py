"""`longtail agent doctor`: can this machine run the agent, and if not, why.

A check answers `ok`, `warn` (it runs, but not as well as it could) or `fail`; the last two say
what to do. The machine's own are in `doctor_machine`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from contracts.clock import SystemClock
from contracts.errors import LongtailError
from edge_agent.config import AgentConfig
from edge_agent.health.doctor_machine import (
    Finding,
    Remark,
    direct_writes,
    governors,
    metrics_port,
    network_manager,
    service_manager,
)


def examine(config: AgentConfig) -> list[Finding]:
    """Run every check; each looks at one thing and none stops the others."""
    checks: list[tuple[str, Callable[[], str | Remark]]] = [
        ("state folder", lambda: _state(config)),
        ("disk", lambda: _disk(config)),
        ("direct writes", lambda: direct_writes(config.state.expanduser())),
        ("kernel cache", _kernel_cache),
        ("trigger specs", lambda: _specs(config)),
        ("model", lambda: _model(config)),
        ("sensors", lambda: _sensors(config)),
        ("link", lambda: _link(config)),
        ("cloud", lambda: _cloud(config)),
        ("metrics", lambda: metrics_port(config.metrics)),
        ("power", lambda: _power(config)),
        ("redaction", lambda: _redaction(config)),
        ("no-record zones", lambda: _zones(config)),
        ("service manager", lambda: service_manager(os.environ)),
        ("cpu governor", governors),
    ]
    return [_examined(name, check) for name, check in checks]


def _examined(name: str, check: Callable[[], str | Remark]) -> Finding:
    try:
        found = check()
    except (LongtailError, OSError) as error:
        return Finding(name, "fail", str(error))
    if isinstance(found, Remark):
        return Finding(name, "warn", found.detail, found.advice)
    return Finding(name, "ok", found)


def _state(config: AgentConfig) -> str:
    folder = config.state.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")
        os.fsync(file.fileno())
    return f"{folder} can be written and synced"


def _disk(config: AgentConfig) -> str:
    free_bytes = shutil.disk_usage(config.state.expanduser()).free
    floor_bytes = config.spool.floor_free
    if free_bytes <= floor_bytes:
        raise OSError(
            f"{free_bytes / 1e9:.1f} GB free, below the floor of {floor_bytes / 1e9:g} GB"
        )
    return f"{free_bytes / 1e9:.1f} GB free, floor {floor_bytes / 1e9:g} GB"


def _kernel_cache() -> str:
    """numba refuses to import cached kernels where it finds no folder to write to."""
    import kernels.rules as compiled

    configured = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(configured) if configured else Path(compiled.__file__).parent
    if not os.access(folder, os.W_OK):
        raise OSError(f"{folder} cannot be written: set NUMBA_CACHE_DIR to a folder that can")
    return f"compiled kernels are kept in {folder}"


def _specs(config: AgentConfig) -> str:
    from edge_agent.setup import load_all_specs

    return f"{len(load_all_specs(config.specs))} specs compile"


def _model(config: AgentConfig) -> str:
    from edge_agent.setup import configured_model

    model = configured_model(config)
    if model is None:
        return "none configured"
    return f"{config.model} passes its self-test, {len(model.class_names)} classes"


def _sensors(config: AgentConfig) -> str | Remark:
    from edge_agent.health.doctor_sensors import sensors

    return sensors(config.source)


def _link(config: AgentConfig) -> str | Remark:
    from edge_agent.setup import link_monitor
    from edge_agent.upload import FileLink

    if config.link.networkmanager:
        return network_manager(config.link.bus)
    monitor = link_monitor(config)
    link = monitor.link()
    if isinstance(monitor, FileLink) and monitor.problem:
        return Remark(monitor.problem, "nothing is sent while the link's file cannot be read")
    return f"{link.kind}{', metered' if link.metered else ''}"


def _cloud(config: AgentConfig) -> str:
    if config.cloud is None:
        return "none configured: clips stay on the vehicle"
    from urllib.error import URLError
    from urllib.request import urlopen

    url = f"{config.cloud.rstrip('/')}/healthz"
    try:
        with urlopen(url, timeout=5) as answer:
            return f"{config.cloud} answers {answer.status}"
    except (URLError, ValueError) as error:
        raise OSError(f"{url} does not answer: {error}") from error


def _power(config: AgentConfig) -> str | Remark:
    from edge_agent.health.doctor_machine import reading_of
    from edge_agent.setup import power_source

    source = power_source(config.power, SystemClock())
    if source is None:
        return "none configured: the agent drives until it is stopped"
    try:
        return reading_of(source)
    finally:
        source.close()


def _redaction(config: AgentConfig) -> str | Remark:
    from edge_agent.redaction.opening import open_detector

    wanted = config.redaction
    parts = [f"{len(boxes)} masks on {channel}" for channel, boxes in wanted.masks.items()]
    if wanted.model is not None:
        open_detector(wanted)
        parts.append(f"{wanted.model} passes its self-test")
    if not parts:
        return Remark(
            "images of clips are kept as the cameras saw them",
            "configure [redaction] where people or plates may be in view: docs/privacy.md",
        )
    return ", ".join(parts)


def _zones(config: AgentConfig) -> str:
    from edge_agent.redaction.geojson import read_zones

    if config.redaction.zones is None:
        return "none configured"
    zones = read_zones(config.redaction.zones)
    return f"{len(zones)} polygons, {config.redaction.zone_margin_m:g} m around them"
