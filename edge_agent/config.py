"""The agent's configuration: `agent.toml`, overridden by the command line.

Unknown keys are errors; sizes and durations are written with their unit.
"""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

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
    clips_per_drive: int | None = Field(None, ge=0)
    bytes_per_drive: Bytes | None = None


class SignalLogConfig(Strict):
    """The log of the triggers' inputs, on which specs are tried later."""

    quota: Bytes = Field(10**9, description="most that all its files may take; 0B: no log")


class LinkConfig(Strict):
    """Which link the vehicle has: a fixed kind, a file that says so, or NetworkManager's word."""

    kind: Literal["wifi", "ethernet", "cellular", "none"] = "ethernet"
    metered: bool = False
    file: Path | None = None
    networkmanager: bool = Field(False, description="ask NetworkManager over D-Bus (extra dbus)")
    bus: str = Field("system", description="D-Bus to ask: system, session or an address")
    adapter: str | None = Field(
        None, description="an installed package's: NAME or NAME:ARGUMENT (docs/adapters.md)"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.networkmanager + (self.file is not None) + (self.adapter is not None) > 1:
            raise ValueError("give one of file, networkmanager and adapter")
        return self


class UploadConfig(Strict):
    """How clips travel."""

    cellular_bytes_per_day: Bytes = 50 * 10**6
    cellular_bytes_per_month: Bytes = 10**9
    other_origins: tuple[str, ...] = Field(
        (), description="where else uploads may live: the cloud's PUBLIC_URL when it differs"
    )
    bytes_per_second: Bytes | None = Field(None, description="bandwidth cap; none: the link's own")
    spans: int = Field(
        4,
        ge=1,
        le=16,
        description="runs of a clip's parts that are sent side by side, on free links",
    )


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


def _loopback(host: str) -> str:
    if not ip_address(host).is_loopback:
        raise ValueError(f"{host} is no loopback address; metrics are served to this machine alone")
    return host


class MetricsConfig(Strict):
    """Prometheus metrics (extra metrics). Without a port there are none."""

    port: int | None = Field(None, ge=0, le=65535, description="0 takes a free one")
    host: Annotated[str, AfterValidator(_loopback)] = "127.0.0.1"


class WatchdogConfig(Strict):
    """What counts as no progress, besides what the service manager's period tells."""

    silent_source: DurationNs = Field(
        60 * 10**9, ge=10**9,
        description="how long a source that has spoken may yield nothing while driving",
    )  # fmt: skip


class CanPowerConfig(Strict):
    """Power readings from a CAN bus (extra can): `Message.Signal` names of a DBC file."""

    interface: str = "socketcan"
    channel: str = "can0"
    dbc: Path
    ignition: str
    supply_v: str | None = None
    temperature_c: str | None = None

    def names(self) -> dict[str, str]:
        """The signals by what they tell."""
        named = {"ignition": self.ignition, "supply_v": self.supply_v,
                 "temperature_c": self.temperature_c}  # fmt: skip
        return {reading: name for reading, name in named.items() if name is not None}


class PowerConfig(Strict):
    """Ignition, supply and heat. Without a file or a bus the agent drives until it is stopped."""

    file: Path | None = Field(None, description="TOML: ignition, supply_v, temperature_c")
    can: CanPowerConfig | None = None
    key_off: DurationNs = Field(5 * 10**9, description="ignition off this long is parked")
    deadline: DurationNs = Field(
        1800 * 10**9, description="longest that a parked vehicle stays awake to upload"
    )
    linger: DurationNs = Field(
        120 * 10**9, description="shortest that it does, for check-ins and updates"
    )
    floor_v: float = Field(11.8, ge=0, description="supply below which nothing is sent")
    floor_for: DurationNs = Field(10 * 10**9, description="and for how long it must be so")
    hot_c: float = Field(85.0, description="above it nothing is sent")
    cool_c: float = Field(75.0, description="below it sending goes on")
    at_end: Literal["exit", "wait"] = Field(
        "exit", description="when a parked vehicle is done: end the agent, or wait for ignition"
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.file is not None and self.can is not None:
            raise ValueError("give either file or can")
        if self.cool_c > self.hot_c:
            raise ValueError("cool_c is not above hot_c")
        return self


Fraction = Annotated[float, Field(ge=0, le=1)]


class RedactionConfig(Strict):
    """What is made unrecognisable, and where nothing is recorded (`docs/privacy.md`)."""

    masks: dict[str, tuple[tuple[Fraction, Fraction, Fraction, Fraction], ...]] = Field(
        default_factory=dict, description="by camera channel: x0, y0, x1, y1 as parts of the image"
    )
    model: Path | None = Field(None, description="ONNX detector of faces, plates, people")
    model_manifest: Path | None = None
    classes: tuple[str, ...] = Field((), description="private classes; default: all it knows")
    min_probability: float = Field(0.2, ge=0, le=1)
    grow_ratio: float = Field(0.15, ge=0, le=2, description="boxes are widened on each side")
    style: Literal["fill", "pixelate"] = "pixelate"
    zones: Path | None = Field(None, description="GeoJSON polygons where nothing is recorded")
    zone_margin_m: float = Field(50.0, ge=0)

    @model_validator(mode="after")
    def _boxes_have_area(self) -> Self:
        for channel, boxes in self.masks.items():
            if any(x0 >= x1 or y0 >= y1 for x0, y0, x1, y1 in boxes):
                raise ValueError(f"masks.{channel}: x0 < x1 and y0 < y1 in every box")
        return self


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
    model_threads: int = Field(
        1, ge=1, le=64, description="threads of a model's run: more for a shorter frame"
    )
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
    metrics: MetricsConfig = MetricsConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    power: PowerConfig = PowerConfig()
    redaction: RedactionConfig = RedactionConfig()


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
        except (OSError, ValueError, RecursionError) as error:  # TOML's own is a ValueError
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
