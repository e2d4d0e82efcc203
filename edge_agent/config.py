"""The agent's configuration: `agent.toml`, overridden by the command line.

Unknown keys are errors; sizes and durations are written with their unit.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from contracts.errors import InputError
from contracts.ids import Name
from contracts.quantities import Bytes, DurationNs
from contracts.signals import nearest_name
from contracts.trigger_spec import Strict


class SpoolConfig(Strict):
    """Bounds of the spool."""

    quota: Bytes = Field(64 * 10**9, description="most that all clips together may take")
    floor_free: Bytes = Field(2 * 10**9, description="free disk that is never touched")


class BudgetConfig(Strict):
    """What the vehicle may keep in one day, over all triggers."""

    clips_per_day: int = Field(300, ge=0)
    bytes_per_day: Bytes = 30 * 10**9
    safety_reserve_ratio: float = Field(0.3, ge=0, le=1)
    random_reserve_ratio: float = Field(0.1, ge=0, le=1)


class SignalLogConfig(Strict):
    """The log of the triggers' inputs, on which specs are tried later."""

    quota: Bytes = Field(10**9, description="most that all its files may take; 0B: no log")


class LinkConfig(Strict):
    """Which link the vehicle has: a fixed kind, or a file that says so."""

    kind: Literal["wifi", "ethernet", "cellular", "none"] = "ethernet"
    metered: bool = False
    file: Path | None = None


class UploadConfig(Strict):
    """How clips travel."""

    cellular_bytes_per_day: Bytes = 50 * 10**6
    cellular_bytes_per_month: Bytes = 10**9
    other_origins: tuple[str, ...] = Field(
        (), description="where else uploads may live: the cloud's PUBLIC_URL when it differs"
    )
    bytes_per_second: Bytes | None = Field(None, description="bandwidth cap; none: the link's own")


class OtaConfig(Strict):
    """Releases over the air. Without `trust` there are none."""

    trust: Path | None = Field(
        None, description="folder with image.root.json and director.root.json, the trust anchors"
    )
    allow_demo_keys: bool = Field(False, description="trust roots made for trying out")
    poll: DurationNs = Field(60 * 10**9, ge=10**9, description="time between check-ins")
    metered_poll: DurationNs = Field(
        300 * 10**9, ge=10**9, description="shortest time between them where bytes cost money"
    )
    soak_driving_spec: DurationNs = Field(
        600 * 10**9, description="driving after which a new spec is kept for good"
    )
    soak_driving_model: DurationNs = Field(
        1800 * 10**9, description="driving after which a new model is kept for good"
    )


class AgentConfig(Strict):
    """All that an agent is told before it starts."""

    vehicle_id: Name | None = Field(None, description="default: derived from the vehicle's key")
    state: Path = Path("~/.local/state/longtail/agent")
    source: str | None = None
    pace: float | None = Field(
        None, gt=0, le=1000, description="times real time for a recorded source; none: all it can"
    )
    model: Path | None = None
    model_manifest: Path | None = None
    specs: tuple[Path, ...] = Field((), description="spec files or folders; default: published")
    rules: tuple[str, ...] = Field((), description="rules of one's own beside the specs")
    labels: dict[str, str] = Field(default_factory=dict, description="matched by target.select")
    cloud: str | None = None
    enrolment_token: str | None = None
    ring: Bytes = Field(512 * 10**6, ge=10**6)
    drain_timeout: DurationNs = Field(
        600 * 10**9, description="longest wait for uploads at the end"
    )
    spool: SpoolConfig = SpoolConfig()
    budget: BudgetConfig = BudgetConfig()
    signal_log: SignalLogConfig = SignalLogConfig()
    link: LinkConfig = LinkConfig()
    upload: UploadConfig = UploadConfig()
    ota: OtaConfig = OtaConfig()


def _laid_over(values: dict[str, object], overrides: dict[str, object]) -> dict[str, object]:
    """`overrides` over `values`; of a section that both have, key by key."""
    merged = dict(values)
    for key, value in overrides.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = {**below, **value} if both else value  # type: ignore[dict-item]
    return merged


def load_config(path: Path | None, overrides: dict[str, object]) -> AgentConfig:
    """Read `path` (None: all defaults) and lay `overrides` over it.

    Raises `InputError` naming the file and key.
    """
    place = str(path) if path is not None else "command line"
    values: dict[str, object] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"cannot be read: {error}", place) from error
    try:
        return AgentConfig.model_validate(_laid_over(values, overrides))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        if first["type"] == "extra_forbidden":
            known = AgentConfig.model_fields
            message = f"unknown key {key!r}{nearest_name(key.split('.')[-1], known)}"
        else:
            message = f"{key}: {first['msg'].removeprefix('Value error, ')}"
        raise InputError(message, place) from error
