"""What an agent is set up from: specs, identity, link, model and its state folder.

Adapters chosen by configuration; every mistake in it is an `InputError` with its place.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts import SOFTWARE_VERSION
from contracts.clock import Clock, SystemClock
from contracts.errors import ConflictError, InputError
from contracts.expression import ExpressionError, parse_expression
from contracts.ids import sha256_hex
from contracts.trigger_spec import API_VERSION, LoadedSpec, load_spec, load_specs, parse_spec
from edge_agent.config import AgentConfig, PowerConfig
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.installed import LINKS, open_installed
from edge_agent.ports import Link, LinkMonitor, PerceptionModel
from edge_agent.power.sources import FilePower, open_can_power
from edge_agent.power.step import PowerSource
from edge_agent.upload import FileLink, FixedLink


def load_all_specs(paths: tuple[Path, ...]) -> list[LoadedSpec]:
    """Specs of files and folders. Raises `InputError` with the place of what is wrong."""
    loaded: list[LoadedSpec] = []
    for path in paths:
        if not path.exists():
            raise InputError("no such trigger spec file or folder", str(path))
        loaded += load_specs(path) if path.is_dir() else [load_spec(path)]
    seen: dict[str, LoadedSpec] = {}
    for spec in loaded:
        if spec.spec.id in seen and seen[spec.spec.id].digest != spec.digest:
            raise InputError(f"trigger id {spec.spec.id!r} is given twice", "specs")
        seen[spec.spec.id] = spec
    return list(seen.values())


def specs_of_rules(rules: tuple[str, ...]) -> list[LoadedSpec]:
    """Expression specs with defaults for rules given on the command line.

    Raises `InputError` with the column of what is wrong.
    """
    for number, rule in enumerate(rules, start=1):
        try:
            parse_expression(rule)
        except ExpressionError as error:
            place = f"rule {number}, column {error.offset + 1}"
            raise InputError(error.message, place) from error
    return [
        parse_spec(
            f"apiVersion: {API_VERSION}\nkind: expression\nid: rule-{number}\nversion: 1\n"
            f"owner: command-line\nwhen: {json.dumps(rule)}\n",
            f"rule {number}",
        )
        for number, rule in enumerate(rules, start=1)
    ]


def vehicle_labels(config: AgentConfig) -> dict[str, str]:
    """What specs and rollouts select by: the configured labels over those that the agent knows."""
    known = {"architecture": platform.machine(), "software_version": SOFTWARE_VERSION}
    return {**known, **config.labels}


@contextmanager
def state_lock(state: Path) -> Iterator[None]:
    """One agent a state folder. Raises `ConflictError` when another runs."""
    state.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConflictError("another agent runs on this state folder", str(state)) from error
    finally:
        os.close(descriptor)


def vehicle_identity(state: Path, vehicle_id: str | None) -> VehicleKey:
    """The vehicle's key; without a given name the vehicle is called after its key."""
    key = VehicleKey.load_or_create(state / "vehicle.key", vehicle_id or "unnamed", RealDisk())
    if vehicle_id is not None:
        return key
    name = f"vehicle-{sha256_hex(key.public_key.encode())[:12]}"
    return VehicleKey.load_or_create(state / "vehicle.key", name, RealDisk())


def link_monitor(config: AgentConfig, clock: Clock | None = None) -> LinkMonitor:
    """Which link there is, as configured; NetworkManager's must be run to know anything."""
    if config.link.networkmanager:
        from edge_agent.upload.links_networkmanager import NetworkManagerLink

        return NetworkManagerLink(config.link.bus, clock or SystemClock())
    if config.link.adapter is not None:
        name, _, argument = config.link.adapter.partition(":")
        adapter: LinkMonitor = open_installed(LINKS, name, argument, ("link",))
        return adapter
    if config.link.file is not None:
        return FileLink(config.link.file)
    return FixedLink(Link(config.link.kind, config.link.metered or config.link.kind == "cellular"))


def power_source(config: PowerConfig, clock: Clock) -> PowerSource | None:
    """Where ignition and supply are read, None without any."""
    if config.file is not None:
        return FilePower(config.file)
    if config.can is not None:
        wanted = config.can
        return open_can_power(wanted.interface, wanted.channel, wanted.dbc, wanted.names(), clock)
    return None


def configured_model(config: AgentConfig) -> PerceptionModel | None:
    if config.model is None:
        return None
    from edge_agent.perception.runtime import load_model

    return load_model(config.model, config.model_manifest)
