"""The few Toyota CAN messages that the triggers need, decoded as columns.

Layouts were verified on a recorded RAV4 drive: of 0x1D2's first byte, bit 4 is *gas
released* (it rises with the pedal of 0x2C1 going to zero) and bit 5 *cruise active* (it rises
one frame before the lane-keeping request of 0x2E4); the yaw rate of 0x24 follows the phone's
gyroscope (correlation 0.95, positive left, constant bias of about -0.4 deg/s, passed on as
measured); its lateral acceleration is positive right on the bus and is turned here. *Brake
pressed* (0x224) and *steer override* (0x260) follow the same maker's public layouts; on the
recorded drive both stay 0, as they must while cruise control stays active.

Does not do: any other make, or messages that no signal needs. A frame of a wanted message
whose bytes do not fit the message's length or checksum is refused with its index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.samples import Float64s
from edge_agent.sources.streams import Int64s, ScalarColumn

Bytes2d = NDArray[np.uint8]
POWERTRAIN_BUS = 0
_FRAME_BYTES = 8


@dataclass(frozen=True, slots=True)
class CanFrames:
    """A log of CAN frames as columns: `mono_ns`, `bus`, `address` [n]; `payload` uint8 [n, 8].

    Frames shorter than 8 bytes are padded with zeros.
    """

    mono_ns: Int64s
    bus: Int64s
    address: Int64s
    payload: Bytes2d


@dataclass(frozen=True, slots=True)
class _Field:
    """A signal inside a message: `read` maps bytes [n, 8] to values in the signal's unit."""

    signal: str
    address: int
    read: Callable[[Bytes2d], Float64s]


def _bit(byte: int, bit: int, *, inverted: bool = False) -> Callable[[Bytes2d], Float64s]:
    def read(payload: Bytes2d) -> Float64s:
        return (((payload[:, byte] >> bit) & 1) ^ int(inverted)).astype(np.float64)

    return read


def _ten_bits(payload: Bytes2d, byte: int) -> Float64s:
    """A big-endian value of ten bits that ends with byte `byte + 1`."""
    high = (payload[:, byte] & 3).astype(np.int64)
    return ((high << 8) | payload[:, byte + 1]).astype(np.float64)


def _yaw_rate_radps(payload: Bytes2d) -> Float64s:
    return np.deg2rad(_ten_bits(payload, 0) * 0.244 - 125.0)


def _lat_accel_mps2(payload: Bytes2d) -> Float64s:
    return -(_ten_bits(payload, 4) * 0.03589 - 18.375)


_LENGTHS: dict[int, int] = {0x24: 8, 0x1D2: 8, 0x224: 8, 0x260: 8}
_CHECKSUMMED = frozenset({0x24, 0x1D2, 0x260})
_FIELDS: tuple[_Field, ...] = (
    _Field("ego.yaw_rate_radps", 0x24, _yaw_rate_radps),
    _Field("ego.lat_accel_mps2", 0x24, _lat_accel_mps2),
    _Field("driver.gas_pressed", 0x1D2, _bit(0, 4, inverted=True)),
    _Field("autonomy.engaged", 0x1D2, _bit(0, 5)),
    _Field("driver.brake_pressed", 0x224, _bit(0, 5)),
    _Field("driver.steer_override", 0x260, _bit(0, 0)),
)


def frames_from_arrays(
    mono_ns: Int64s, bus: Int64s, address: Int64s, content: NDArray[np.bytes_], place: str
) -> CanFrames:
    """Columns of a CAN log from numpy arrays; `content` holds byte strings of up to 8 bytes.

    Raises `InputError` with the index of the first frame that is missing a part or is longer
    than a CAN frame can be.
    """
    if content.dtype.kind != "S" or content.ndim != 1:
        raise InputError(
            f"frame contents must be byte strings [n], not {content.dtype} {content.shape}", place
        )
    sizes = {mono_ns.size, bus.size, address.size, content.size}
    if len(sizes) != 1:
        raise InputError(
            f"times, buses, addresses and contents have {mono_ns.size}, {bus.size}, "
            f"{address.size} and {content.size} entries; frame {min(sizes)} is incomplete",
            place,
        )
    too_long = (
        np.flatnonzero(np.char.str_len(content) > _FRAME_BYTES)
        if (content.dtype.itemsize > _FRAME_BYTES)
        else np.empty(0, dtype=np.int64)
    )
    if too_long.size:
        index = int(too_long[0])
        raise InputError(
            f"frame {index} (address {int(address[index]):#x}) has {len(content[index])} bytes; "
            f"a CAN frame has at most {_FRAME_BYTES}",
            place,
        )
    fixed = np.ascontiguousarray(content.astype(f"S{_FRAME_BYTES}"))
    return CanFrames(mono_ns, bus, address, fixed.view(np.uint8).reshape(-1, _FRAME_BYTES))


def is_toyota(frames: CanFrames) -> bool:
    """Whether every wanted message is on the powertrain bus, as on the makes known here."""
    present = np.unique(frames.address[frames.bus == POWERTRAIN_BUS])
    return bool(np.isin(list(_LENGTHS), present).all())


def _checked(frames: CanFrames, address: int, place: str) -> NDArray[np.int64]:
    """Indices of a message's frames, after their length and checksum were checked."""
    rows = np.flatnonzero((frames.address == address) & (frames.bus == POWERTRAIN_BUS))
    length = _LENGTHS[address]
    payload = frames.payload[rows].astype(np.int64)
    bad = payload[:, length:].any(axis=1)
    if address in _CHECKSUMMED:
        total = length + (address & 0xFF) + (address >> 8) + payload[:, : length - 1].sum(axis=1)
        bad |= (total & 0xFF) != payload[:, length - 1]
    if bad.any():
        index = int(rows[np.flatnonzero(bad)[0]])
        raise InputError(
            f"frame {index} (address {address:#x}) is not a whole message of {length} bytes: "
            f"its content {frames.payload[index].tobytes().hex()} breaks its length or checksum",
            place,
        )
    return rows


def decode(frames: CanFrames, place: str) -> list[ScalarColumn]:
    """Every signal of the table, one value for each frame that carries it.

    Raises `InputError` with the index of the first frame of broken length or checksum.
    """
    rows_of = {address: _checked(frames, address, place) for address in _LENGTHS}
    return [
        ScalarColumn(
            field.signal,
            frames.mono_ns[rows_of[field.address]],
            field.read(frames.payload[rows_of[field.address]]),
        )
        for field in _FIELDS
    ]
