"""The always-valid comparison of treated with control vehicles: a frailty logrank e-process.

Given how many events an interval had over the fleet, which share fell on treated vehicles? That
conditional (partial) likelihood does not know what all vehicles share: a week of rain cancels.
It is the anytime-valid logrank test (ter Schure, Pérez-Ortiz, Ly, Grünwald, doi 10.51387/
24-NEJSDS65) with two frailties: vehicle i's rate is lambda_i times the common rate, times r when
treated, lambda_i ~ Gamma(k, k), and each vehicle's interval has a factor ~ Gamma(q, q) of its
own, for good and bad roads. A vehicle's past, also from before its treatment, tells about
lambda_i, so that five unlucky canaries are not taken for a bad release. The share's law is
beta-binomial, with the first two moments of these frailties.

k and q are unknown: numerator and denominator run over a grid of them, weighted by how well each
foretold the *control* driving, and the denominator is the largest (universal inference,
Wasserman, Ramdas, Balakrishnan 2020). The numerator mixes over rate ratios r (mixture SPRT,
Robbins 1970). So `log_e_worse` may be read at every look: under the model it exceeds
log(1/alpha) ever with probability at most alpha (Ville).

What is approximate, and what breaks it: docs/rollout-statistics.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from cloud_ingest.rollout.observation import FloatArray

RATIOS: FloatArray = np.array([0.33, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 50.0])
"""Treated over control rate: the hypotheses that are held against each other."""

DISPERSIONS: FloatArray = np.array([0.25, 0.6, 1.5, 4.0, 40.0])
"""k: a vehicle's rate has the coefficient of variation k**-0.5, here 2.0 down to 0.16."""

INTERVAL_DISPERSIONS: FloatArray = np.array([0.3, 1.0, 4.0, 1e6])
"""q, likewise, for one vehicle's intervals: 1.8, 1.0, 0.5 and none."""

_SHARES_OF_RATE = (0.02, 0.1, 0.25, 0.5)
_MIN_CONCENTRATION = 0.25
TREATED, CONTROL, UNREAD = 1, 0, -1
ArmArray = NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What has been learnt: G guardrails, V vehicles, R ratios, Q and K dispersions.

    `seen` (G, Q, V) are events, `control_hazard` and `treated_hazard` what an average vehicle
    would have counted, all three weighted by how much an interval tells given q.
    `treated_exposure`, `treated_events` (G, V) are plain sums. `log_shares` (G, R, Q, K) is the
    partial log-likelihood of treated shares, `log_scatter` (G, Q, K) that of control counts.
    """

    vehicle_ids: tuple[str, ...]
    seen: FloatArray
    control_hazard: FloatArray
    treated_hazard: FloatArray
    treated_exposure: FloatArray
    treated_events: FloatArray
    log_shares: FloatArray
    log_scatter: FloatArray

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evidence):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
        )


def no_evidence(guardrails: int) -> Evidence:
    weighted = np.zeros((guardrails, len(INTERVAL_DISPERSIONS), 0))
    plain = np.zeros((guardrails, 0))
    grid = (len(INTERVAL_DISPERSIONS), len(DISPERSIONS))
    return Evidence(
        vehicle_ids=(),
        seen=weighted,
        control_hazard=weighted,
        treated_hazard=weighted,
        treated_exposure=plain,
        treated_events=plain,
        log_shares=np.zeros((guardrails, len(RATIOS), *grid)),
        log_scatter=np.zeros((guardrails, *grid)),
    )


def absorb(
    evidence: Evidence,
    vehicle_ids: tuple[str, ...],
    arms: ArmArray,
    exposure: FloatArray,
    events: FloatArray,
) -> Evidence:
    """Add one interval.

    Args:
        vehicle_ids: the columns below; vehicles that are new get a place.
        arms: (vehicles,) TREATED, CONTROL or UNREAD; what is unread changes nothing.
        exposure, events: (G, vehicles); events in units of independent ones.
    """
    evidence = _with_places(evidence, vehicle_ids)
    if evidence.vehicle_ids != vehicle_ids:
        place = {vehicle_id: i for i, vehicle_id in enumerate(evidence.vehicle_ids)}
        columns = np.array([place[vehicle_id] for vehicle_id in vehicle_ids], dtype=np.intp)
        arms = _spread(arms[np.newaxis], columns, len(place), UNREAD)[0].astype(np.int8)
        exposure = _spread(exposure, columns, len(place), 0.0)
        events = _spread(events, columns, len(place), 0.0)
    control, treated = (arms == CONTROL) & (exposure > 0), (arms == TREATED) & (exposure > 0)
    at_risk = np.where(control, exposure, 0.0).sum(axis=1, keepdims=True)
    common = np.where(control, events, 0.0).sum(axis=1, keepdims=True)
    # Without a control there is no common rate to hold treated driving against: hazard 0.
    hazard = exposure * common / np.where(at_risk > 0, at_risk, 1.0)
    read = (control | treated) & (at_risk > 0)
    weight = _weight(evidence, hazard)
    weighted_hazard = weight * hazard[:, np.newaxis, :]
    return Evidence(
        vehicle_ids=evidence.vehicle_ids,
        seen=evidence.seen + weight * np.where(read, events, 0.0)[:, np.newaxis, :],
        control_hazard=evidence.control_hazard + weighted_hazard * control[:, np.newaxis, :],
        treated_hazard=evidence.treated_hazard + weighted_hazard * treated[:, np.newaxis, :],
        treated_exposure=evidence.treated_exposure + np.where(treated, exposure, 0.0),
        treated_events=evidence.treated_events + np.where(treated, events, 0.0),
        log_shares=evidence.log_shares
        + _log_share_likelihood(evidence, control, treated, exposure, events),
        log_scatter=evidence.log_scatter + _log_foretold(evidence, control, hazard, events),
    )


def log_e_worse(evidence: Evidence) -> FloatArray:
    """(G,) evidence against "treated vehicles do no worse than control"."""
    return _log_e(evidence, RATIOS > 1.0)


def log_e_below(evidence: Evidence, ratio: float) -> FloatArray:
    """(G,) evidence against "the treated rate is `ratio` times the control's, or more"."""
    return _log_e(evidence, ratio > RATIOS)


def likeliest_ratio(evidence: Evidence) -> FloatArray:
    """(G,) the grid's likeliest rate ratio; 1.0 while nothing speaks for any."""
    joint = (evidence.log_shares + evidence.log_scatter[:, np.newaxis]).max(axis=(2, 3))
    nothing = np.ptp(joint, axis=1) == 0.0
    return np.where(nothing, 1.0, RATIOS[joint.argmax(axis=1)])


def log_e_rate_below(evidence: Evidence, rates: FloatArray) -> FloatArray:
    """(G,) evidence against "treated vehicles have at least `rates` events per exposure".

    For rare events, whose ratio cannot be known: with none seen it passes log(20) after an
    exposure of 3 to 5 over the rate, as the rule of three has it, later the more vehicles differ.
    """
    k = DISPERSIONS[np.newaxis, :, np.newaxis]
    at_rate = rates[:, np.newaxis, np.newaxis] * evidence.treated_exposure[:, np.newaxis, :]
    n = evidence.treated_events[:, np.newaxis, :]

    def log_likelihood(share: float) -> FloatArray:
        each = n * np.log(share) - (k + n) * np.log(k + share * at_rate)
        total = (each + k * np.log(k) + log_gamma(k + n) - log_gamma(k)).sum(axis=2)
        joint: FloatArray = total + evidence.log_scatter.max(axis=1)
        return joint

    lower = np.stack([log_likelihood(share) for share in _SHARES_OF_RATE])
    mixture = lower.transpose(1, 0, 2).reshape(len(rates), -1)
    numerator = _log_sum_exp(mixture, axis=1) - np.log(mixture.shape[1])
    log_e: FloatArray = numerator - log_likelihood(1.0).max(axis=1)
    return log_e


def _log_e(evidence: Evidence, alternative: NDArray[np.bool_]) -> FloatArray:
    joint = evidence.log_shares + evidence.log_scatter[:, np.newaxis]
    mixture = joint[:, alternative].reshape(len(joint), -1)
    numerator: FloatArray = _log_sum_exp(mixture, axis=1) - np.log(mixture.shape[1])
    log_e: FloatArray = numerator - joint[:, ~alternative].max(axis=(1, 2, 3))
    return log_e


def _weight(evidence: Evidence, hazard: FloatArray) -> FloatArray:
    """(G, Q, V) what an interval's count tells about its vehicle, 1 where days are alike."""
    q = INTERVAL_DISPERSIONS[np.newaxis, :, np.newaxis]
    past = evidence.control_hazard + evidence.treated_hazard
    expected = hazard[:, np.newaxis, :] * (1.0 + evidence.seen) / (1.0 + past)
    weight: FloatArray = 1.0 / (1.0 + expected / q)
    return weight


def _log_share_likelihood(
    evidence: Evidence,
    control: NDArray[np.bool_],
    treated: NDArray[np.bool_],
    exposure: FloatArray,
    events: FloatArray,
) -> FloatArray:
    """(G, R, Q, K) log-probability of the treated share, less what does not depend on them."""
    on_road = np.any(treated, axis=0)
    if not on_road.any():
        return np.zeros_like(evidence.log_shares)
    y = np.where(treated, events, 0.0).sum(axis=1)[:, np.newaxis, np.newaxis, np.newaxis]
    n = y + np.where(control, events, 0.0).sum(axis=1)[:, np.newaxis, np.newaxis, np.newaxis]
    a_mean, a_var = _intensity(evidence, np.where(treated, exposure, 0.0), on_road, RATIOS)
    b_mean, b_var = _intensity(
        evidence, np.where(control, exposure, 0.0), np.any(control, axis=0), np.ones(1)
    )
    both = (a_mean > 0) & (b_mean > 0) & (n > 0)
    a_safe, b_safe = np.where(both, a_mean, 1.0), np.where(both, b_mean, 1.0)
    p = a_safe / (a_safe + b_safe)
    scatter = np.where(both, a_var / a_safe**2 + b_var / b_safe**2, 1.0)
    concentration = np.maximum(1.0 / (p * (1.0 - p) * scatter) - 1.0, _MIN_CONCENTRATION)
    alpha, beta = p * concentration, (1.0 - p) * concentration
    log_probability = (
        log_gamma(alpha + y)
        + log_gamma(beta + n - y)
        - log_gamma(concentration + n)
        - log_gamma(alpha)
        - log_gamma(beta)
        + log_gamma(concentration)
    )
    shares: FloatArray = np.where(both, log_probability, 0.0)
    return shares


def _intensity(
    evidence: Evidence, exposure: FloatArray, on_road: NDArray[np.bool_], ratios: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of a group's summed rate given the past, each (G, ratios, Q, K)."""
    k = DISPERSIONS[:, np.newaxis]
    q = INTERVAL_DISPERSIONS[:, np.newaxis, np.newaxis]
    r = ratios[:, np.newaxis, np.newaxis, np.newaxis]

    def of_group(array: FloatArray) -> FloatArray:
        group: FloatArray = array[:, :, on_road][:, np.newaxis, :, np.newaxis, :]
        return group

    shape = k + of_group(evidence.seen)
    rate = k + of_group(evidence.control_hazard) + r * of_group(evidence.treated_hazard)
    part = r * exposure[:, on_road][:, np.newaxis, np.newaxis, np.newaxis, :] * shape / rate
    spread = part * part * ((1.0 + 1.0 / q) / shape + 1.0 / q)
    return part.sum(axis=4), spread.sum(axis=4)


def _log_foretold(
    evidence: Evidence, control: NDArray[np.bool_], hazard: FloatArray, events: FloatArray
) -> FloatArray:
    """(G, Q, K) how probable the control vehicles' counts were, given their past and hazards."""
    on_road = np.any(control, axis=0)
    k = DISPERSIONS[:, np.newaxis]
    q = INTERVAL_DISPERSIONS[:, np.newaxis, np.newaxis]
    shape = k + evidence.seen[:, :, on_road][:, :, np.newaxis, :]
    past = evidence.control_hazard[:, :, on_road][:, :, np.newaxis, :]
    n = np.where(control, events, 0.0)[:, on_road][:, np.newaxis, np.newaxis, :]
    h = np.where(control, hazard, 0.0)[:, on_road][:, np.newaxis, np.newaxis, :]
    mean = h * shape / (k + past)
    size = 1.0 / ((1.0 + 1.0 / q) / shape + 1.0 / q)
    each = (
        log_gamma(size + n)
        - log_gamma(size)
        - (size + n) * np.log1p(mean / size)
        + n * np.log(shape / (size * (k + past)))
    )
    total: FloatArray = each.sum(axis=3)
    return total


def _with_places(evidence: Evidence, vehicle_ids: tuple[str, ...]) -> Evidence:
    if evidence.vehicle_ids == vehicle_ids:
        return evidence
    known = frozenset(evidence.vehicle_ids)
    new = tuple(vehicle_id for vehicle_id in vehicle_ids if vehicle_id not in known)
    if not new:
        return evidence

    def grown(array: FloatArray) -> FloatArray:
        return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, len(new))])

    return replace(
        evidence,
        vehicle_ids=evidence.vehicle_ids + new,
        seen=grown(evidence.seen),
        control_hazard=grown(evidence.control_hazard),
        treated_hazard=grown(evidence.treated_hazard),
        treated_exposure=grown(evidence.treated_exposure),
        treated_events=grown(evidence.treated_events),
    )


def _spread(
    values: NDArray[np.generic], columns: NDArray[np.intp], width: int, empty: float
) -> FloatArray:
    wide = np.full((values.shape[0], width), empty, dtype=np.float64)
    wide[:, columns] = values
    return wide


def _log_sum_exp(values: FloatArray, axis: int) -> FloatArray:
    top = values.max(axis=axis, keepdims=True)
    result: FloatArray = np.log(np.exp(values - top).sum(axis=axis)) + top.squeeze(axis=axis)
    return result


def log_gamma(x: FloatArray) -> FloatArray:
    """log of the gamma function for x > 0, to about 1e-10: Stirling's series from x + 7 on.

    The service's install has no SciPy.
    """
    shifted = x + 7.0
    product = x * (x + 1.0) * (x + 2.0) * (x + 3.0) * (x + 4.0) * (x + 5.0) * (x + 6.0)
    inverse = 1.0 / shifted
    square = inverse * inverse
    series = inverse * (
        1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))
    )
    result: FloatArray = (
        (shifted - 0.5) * np.log(shifted) - shifted + 0.9189385332046727 + series - np.log(product)
    )
    return result
