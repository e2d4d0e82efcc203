"""Place and direction of a clip's scene, where the source tells a course and where only fixes."""

from __future__ import annotations

from math import cos, pi, radians, sin
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from contracts.clip import Cause
from contracts.clock import NS_PER_S
from contracts.samples import FixSample, ImageSample, Sample, SignalSample
from contracts.scenes import DEGREE_M, TURN_RAD, Scene
from edge_agent.selection.scene_of import scene_of
from edge_agent.sources.comma2k19 import find_segment
from edge_agent.sources.registry import open_source
from kernels.clip.encoding import encode_sample

FIRED_NS = 20 * NS_PER_S
PICTURE = simplejpeg.encode_jpeg(
    np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
)


def met(samples: list[Sample], fired_ns: int = FIRED_NS) -> Scene | None:
    """The scene of a fire, with a picture at hand."""
    cause = Cause(
        trigger_id="t", trigger_version=1, spec_digest="0" * 64, kind="expression",
        fired_mono_ns=fired_ns, start_mono_ns=fired_ns, end_mono_ns=fired_ns, score=1.0,
    )  # fmt: skip
    image = ImageSample("/camera/front", fired_ns, "jpeg", PICTURE, 64, 48, "front")
    return scene_of(cause, [encode_sample(each, 0) for each in (image, *samples)], None)


def way(
    bearing_rad: float, speed_mps: float, lon_deg: float = 11.0, noise_m: float = 0.0
) -> list[Sample]:
    """A fix a second, forty seconds long, straight on; half of them come late."""
    rng = np.random.default_rng(7)
    fixes: list[Sample] = []
    for second in range(40):
        gone_m = speed_mps * (second - FIRED_NS / NS_PER_S)
        north_m = gone_m * cos(bearing_rad) + float(rng.normal(0, noise_m))
        east_m = gone_m * sin(bearing_rad) + float(rng.normal(0, noise_m))
        lon = lon_deg + east_m / (DEGREE_M * cos(radians(48.0)))
        fixes.append(FixSample(
            second * NS_PER_S, 48.0 + north_m / DEGREE_M, (lon + 180.0) % 360.0 - 180.0, 0.0, 0
        ))  # fmt: skip
    return [*fixes[::2], *fixes[1::2]]


def turned_rad(one: float, other: float) -> float:
    return abs((one - other + pi) % (2 * pi) - pi)


@pytest.mark.parametrize("bearing_rad", [0.0, 0.7, 2.0, -1.5, 3.1])
@pytest.mark.parametrize("speed_mps", [1.5, 10.0, 35.0])
def test_fixes_tell_the_course(bearing_rad: float, speed_mps: float) -> None:
    found = met(way(bearing_rad, speed_mps, noise_m=0.8))
    assert found is not None
    assert turned_rad(found.bearing_rad, bearing_rad) < TURN_RAD
    assert found.lat_deg == pytest.approx(48.0, abs=3e-5), "the nearest fix"


def test_across_the_date_line() -> None:
    found = met(way(pi / 2, 10.0, lon_deg=180.0))
    assert found is not None
    assert found.bearing_rad == pytest.approx(pi / 2, abs=1e-3)


def test_a_vehicle_that_stands_has_no_course_and_one_told_comes_first() -> None:
    standing = way(0.0, 0.0, noise_m=0.8)
    assert met(standing) is None
    told = SignalSample("gnss.bearing_rad", FIRED_NS, 2.5)
    for fixes in (standing, way(0.0, 10.0)):
        found = met([*fixes, told])
        assert found is not None
        assert found.bearing_rad == 2.5


def test_fixes_of_another_time_tell_nothing() -> None:
    far = [each for each in way(0.0, 10.0) if abs(each.mono_ns - FIRED_NS) > 9 * NS_PER_S]
    assert met(far) is None
    assert met(far[:1]) is None


def test_on_a_recorded_drive_it_is_what_the_receiver_itself_says(shared_data: Path) -> None:
    """comma2k19's u-blox tells a course of its own, by Doppler."""
    samples = list(open_source(f"comma2k19:{find_segment(shared_data / 'comma2k19')}").samples())
    fixes: list[Sample] = [each for each in samples if isinstance(each, FixSample)]
    told = {
        each.mono_ns: each.value for each in samples
        if isinstance(each, SignalSample) and each.name == "gnss.bearing_rad"
    }  # fmt: skip
    compared = 0
    for at_ns in sorted(told)[10:-10:10]:
        found = met(fixes, at_ns)
        assert found is not None
        assert turned_rad(found.bearing_rad, told[at_ns]) < TURN_RAD / 4
        compared += 1
    assert compared > 20
