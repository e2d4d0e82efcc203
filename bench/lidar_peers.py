"""What else packs a sweep: Draco and LAZ, at a step of 4 mm a coordinate, 2 mm off at most.

That is coarser than the codec, whose ranges are 1 mm off at most, and in their favour. Neither
keeps what a sweep has beside its points (rings, firing order, times); Draco gives the points back
in an order of its own. Both carry intensity in 8 bits, as the codec does.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32s = NDArray[np.float32]
STEP_M = 0.004
_DRACO_LEVEL = 7
"""Of its command line tool, as it is by default."""


@dataclass(frozen=True, slots=True)
class Peer:
    """`encode` takes x, y, z and intensity in [0, 1], float32 [n, 4]; `decode` gives x, y, z of as
    many points, float64 [n, 3], in any order.
    """

    name: str
    encode: Callable[[Float32s], bytes]
    decode: Callable[[bytes], NDArray[np.float64]]


def draco() -> Peer:
    """Draco, a k-d tree over quantised points. Raises `ImportError` without its package."""
    import DracoPy

    def encode(scan: Float32s) -> bytes:
        points = np.ascontiguousarray(scan[:, :3])
        span_m = float(np.ptp(points, axis=0).max())
        # The finest grid that its bits give at no more than the step.
        bits = max(1, int(np.ceil(np.log2(span_m / STEP_M + 1))))
        content: bytes = DracoPy.encode(
            points, quantization_bits=bits, compression_level=_DRACO_LEVEL,
            quantization_range=STEP_M * (2**bits - 1),
            quantization_origin=points.min(axis=0).astype(np.float64), colors=_bytes(scan),
        )  # fmt: skip
        return content

    def decode(content: bytes) -> NDArray[np.float64]:
        return np.asarray(DracoPy.decode(content).points, dtype=np.float64)

    return Peer(f"Draco -{_DRACO_LEVEL}", encode, decode)


def laz() -> Peer:
    """LAZ by lazrs, as surveyors keep clouds. Raises `ImportError` without its packages."""
    import laspy

    def encode(scan: Float32s) -> bytes:
        header = laspy.LasHeader(point_format=0, version="1.2")
        header.scales = np.full(3, STEP_M)
        cloud = laspy.LasData(header)
        cloud.x, cloud.y, cloud.z = scan[:, :3].T.astype(np.float64)
        cloud.intensity = _bytes(scan)[:, 0].astype(np.uint16)
        content = io.BytesIO()
        cloud.write(content, do_compress=True, laz_backend=laspy.LazBackend.Lazrs)
        return content.getvalue()

    def decode(content: bytes) -> NDArray[np.float64]:
        return np.asarray(laspy.read(io.BytesIO(content)).xyz, dtype=np.float64)

    return Peer("LAZ", encode, decode)


def largest_error_m(peer: Peer, scan: Float32s) -> float:
    """Of any coordinate, over all points, whichever order they come back in."""
    from scipy.spatial import KDTree

    found = peer.decode(peer.encode(scan))
    nearest = KDTree(found).query(scan[:, :3].astype(np.float64))[1]
    return float(np.abs(found[nearest] - scan[:, :3]).max())


def _bytes(scan: Float32s) -> NDArray[np.uint8]:
    return np.rint(scan[:, 3:] * 255).astype(np.uint8)
