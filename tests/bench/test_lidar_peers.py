"""The codec's peers keep what they promise, so that sizes beside theirs are of the same thing."""

from __future__ import annotations

import numpy as np
import pytest

from bench.lidar_peers import STEP_M, draco, largest_error_m, laz


@pytest.mark.parametrize("make", [draco, laz])
def test_a_peer_gives_every_point_back_within_half_a_step(make: object) -> None:
    rng = np.random.default_rng(3)
    scan = rng.uniform((-80, -60, -3, 0), (70, 80, 8, 1), (5000, 4)).astype(np.float32)
    peer = make()  # type: ignore[operator]
    assert len(peer.decode(peer.encode(scan))) == len(scan)
    assert largest_error_m(peer, scan) <= STEP_M / 2 + 1e-5
