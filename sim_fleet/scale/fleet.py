"""The vehicles of the model as columns, and the rules that they all have.

Guarantees: the same rates, count and seed give the same fleet; trigger rules are those of the
published specs as the agent reads them (`fire_of`), so a changed spec changes the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.clip import Cause, ClipManifest, Window
from contracts.clock import ClockQuality
from contracts.ids import EventKey
from contracts.trigger_spec import LoadedSpec
from edge_agent.clips.packer import clip_value
from edge_agent.ledger.spending import POOLS
from edge_agent.selection.budget import Fire, fire_of
from edge_agent.spool import PRIORITIES
from sim_fleet.scale.rates import ScaleRates, published_specs
from sim_fleet.seeds import generator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Vehicles:
    """One row a vehicle, [n].

    Attributes:
        region: index into `ScaleRates.regions`.
        midnight_s: UTC second of the day at which the vehicle's local day begins.
        rate: multiplies the rates of its moments; mean 1 over the fleet's gamma.
        has_wifi: whether its garage has a free link.
        wifi_bytes_s, cellular_bytes_s: upload rates.
    """

    region: NDArray[np.int64]
    midnight_s: Floats
    rate: Floats
    has_wifi: Bools
    wifi_bytes_s: Floats
    cellular_bytes_s: Floats

    def __len__(self) -> int:
        return len(self.region)


def make_vehicles(rates: ScaleRates, count: int, seed: int) -> Vehicles:
    """Draw `count` vehicles."""
    rng = generator(seed, "scale", "vehicles")
    shares = np.array([region.share for region in rates.regions])
    region = rng.choice(len(shares), size=count, p=shares / shares.sum())
    offsets = np.array([each.utc_offset_h for each in rates.regions])
    ratios = np.array([each.moments_ratio for each in rates.regions])
    shape, links = rates.vehicle_shape, rates.links

    def speeds(median_mbit_s: float) -> Floats:
        spread = rng.standard_normal(count) * links.rate_spread
        return np.asarray(median_mbit_s * 1e6 / 8 * np.exp(spread), np.float64)

    return Vehicles(
        region=region.astype(np.int64),
        midnight_s=(-offsets[region] * 3600) % 86_400,
        rate=rng.gamma(shape, 1 / shape, count) * ratios[region],
        has_wifi=rng.random(count) < links.garage_wifi_share,
        wifi_bytes_s=speeds(links.wifi_mbit_s),
        cellular_bytes_s=speeds(links.cellular_mbit_s),
    )


@dataclass(frozen=True, slots=True)
class TriggerRules:
    """The triggers' rules as columns, [k], in the order of `fires`."""

    fires: tuple[Fire, ...]
    pool: Ints
    cooldown_ns: Ints
    clips_per_day: Ints
    bytes_per_day: Ints


def trigger_rules(specs: list[LoadedSpec]) -> TriggerRules:
    """The budget rules of some specs, as the agent takes them from each."""
    fires = tuple(fire_of(loaded, 0) for loaded in specs)

    def column(values: list[int]) -> Ints:
        return np.array(values, np.int64)

    return TriggerRules(
        fires=fires,
        pool=column([POOLS.index(fire.pool) for fire in fires]),
        cooldown_ns=column([fire.cooldown_ns for fire in fires]),
        clips_per_day=column([fire.clips_per_day for fire in fires]),
        bytes_per_day=column([fire.bytes_per_day for fire in fires]),
    )


@dataclass(frozen=True, slots=True)
class MomentRules:
    """The moments as columns, [m], in the order of `names`.

    Attributes:
        triggers: index into the trigger rules, [m, p], -1 past a moment's last one.
        per_hour: rate of a driving hour. `varies`: whether vehicles differ in it.
        clip_bytes, clip_spread: mean size, and standard deviation of its logarithm.
    """

    names: tuple[str, ...]
    triggers: Ints
    per_hour: Floats
    varies: Bools
    clip_bytes: Floats
    clip_spread: Floats


@dataclass(frozen=True, slots=True)
class ClipRules:
    """How clips are treated, by which of their moment's triggers were kept, as columns [t].

    Triggers of one clip are a set; a clip's row is the best of its triggers' rows, as in
    `edge_agent.selection.capture`.

    Attributes:
        level: of `PRIORITIES`, 0 the most urgent.
        cellular: whether metered links are allowed.
        exempt: safety or random: never declined by the receiver.
        value: by level, [priorities], of a clip whose score is 1.
    """

    level: Ints
    cellular: Bools
    exempt: Bools
    value: Floats


@dataclass(frozen=True, slots=True)
class Rules:
    """All that is the same for every vehicle."""

    triggers: TriggerRules
    moments: MomentRules
    clips: ClipRules


def make_rules(rates: ScaleRates) -> Rules:
    """The published specs and the moments of `rates` as columns."""
    specs = published_specs()
    ids = [each.spec.id for each in specs]
    moments = list(rates.moments.values())
    most = max(len(moment.triggers) for moment in moments)
    triggers = np.full((len(moments), most), -1, np.int64)
    for row, moment in enumerate(moments):
        triggers[row, : len(moment.triggers)] = [ids.index(name) for name in moment.triggers]
    sizes = np.array([moment.clip_mb * 1e6 for moment in moments]) * rates.clip_size_ratio
    uploads = [each.spec.upload for each in specs]
    return Rules(
        triggers=trigger_rules(specs),
        moments=MomentRules(
            names=tuple(rates.moments),
            triggers=triggers,
            per_hour=np.array([moment.per_driving_hour for moment in moments]),
            varies=np.array([moment.varies for moment in moments]),
            clip_bytes=sizes,
            clip_spread=np.array([moment.clip_spread for moment in moments]),
        ),
        clips=ClipRules(
            level=np.array([PRIORITIES.index(upload.priority) for upload in uploads], np.int64),
            cellular=np.array([upload.cellular == "allowed" for upload in uploads]),
            exempt=np.array(
                [each.is_safety or each.spec.kind == "random_baseline" for each in specs]
            ),
            value=np.array([clip_value(_manifest(), priority) for priority in PRIORITIES]),
        ),
    )


def _manifest() -> ClipManifest:
    """Any clip whose best cause has score 1: `clip_value` ranks it by priority alone."""
    cause = Cause(
        trigger_id="any", trigger_version=1, spec_digest="0" * 64, kind="any", fired_mono_ns=0,
        start_mono_ns=0, end_mono_ns=0, score=1.0,
    )  # fmt: skip
    window = Window(start_mono_ns=0, end_mono_ns=0)
    event = EventKey(vehicle_id="any", boot_id="any", start_mono_ns=0, end_mono_ns=0)
    return ClipManifest(
        event=event, drive_id="any", software_version="", stream="triggered", causes=(cause,),
        requested=window, actual=window, utc_minus_mono_ns=0,
        clock=ClockQuality(synchronised=False),
    )  # fmt: skip
