"""A small vehicle's CAN: a DBC and a mapping of our own, and frames that follow them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import can
import cantools

DBC = """VERSION ""

NS_ :

BS_:

BU_: GATEWAY AGENT

BO_ 256 MOTION: 8 GATEWAY
 SG_ SPEED : 0|16@1+ (0.01,0) [0|400] "km/h" AGENT
 SG_ YAW : 16|12@1- (0.1,0) [-204.8|204.7] "deg/s" AGENT
 SG_ ALIVE : 56|4@1+ (1,0) [0|15] "" AGENT

BO_ 257 PEDALS: 3 GATEWAY
 SG_ GAS : 7|8@0+ (0.5,0) [0|100] "%" AGENT
 SG_ BRAKE : 8|1@1+ (1,0) [0|1] "" AGENT
 SG_ RAW_TORQUE : 16|8@1+ (1,0) [0|0] "Nm" AGENT

BO_ 2566834709 ACC: 8 GATEWAY
 SG_ STATE : 0|3@1+ (1,0) [0|7] "" AGENT
 SG_ PAGE M : 8|2@1+ (1,0) [0|3] "" AGENT
 SG_ GAP m0 : 16|12@1+ (0.1,0) [0|400] "m" AGENT
 SG_ CLOSING m1 : 16|12@1- (0.1,0) [-200|200] "m/s" AGENT

VAL_ 2566834709 STATE 0 "OFF" 1 "STANDBY" 2 "ACTIVE" 3 "OVERRIDE" 7 "SNA" ;
VAL_ 256 SPEED 65535 "SNA" ;
"""

MAP = """apiVersion: longtail/v1
kind: CanMap
dbc: vehicle.dbc
signals:
  ego.speed_mps: {from: MOTION.SPEED}
  ego.yaw_rate_radps: {from: MOTION.YAW, scale: -1}
  driver.gas_pressed: {from: PEDALS.GAS, above: 2}
  driver.brake_pressed: {from: PEDALS.BRAKE}
  autonomy.engaged:
    from: ACC.STATE
    states: {ACTIVE: 1, OVERRIDE: 1, STANDBY: 0, OFF: 0}
  lead.distance_m: {from: ACC.GAP}
counters:
  MOTION: ALIVE
"""

START_S = 1_790_000_000.0


class Vehicle:
    """Encodes messages of the test's DBC."""

    def __init__(self) -> None:
        self._database = cantools.database.load_string(DBC)
        self._alive = 0

    def frame(self, at_s: float, message: str, **values: float) -> can.Message:
        """One frame; `MOTION` counts its alive counter by itself."""
        if message == "MOTION":
            self._alive = (self._alive + 1) % 16
            values = {"ALIVE": self._alive, **values}
        found = self._database.get_message_by_name(message)
        page = values.get("PAGE", 0)
        if page > 1:  # one that the DBC does not know cannot be encoded by it
            first = round(values["STATE"]) | round(page) << 8
            payload = first.to_bytes(8, "little")
        else:
            payload = found.encode(values, scaling=True, strict=False, padding=False)
        return can.Message(
            timestamp=at_s,
            arbitration_id=found.frame_id,
            is_extended_id=found.is_extended_frame,
            data=payload,
            channel=0,
        )

    def motion(self, at_s: float, speed_kmh: float, yaw_dps: float = 0.0) -> can.Message:
        return self.frame(at_s, "MOTION", SPEED=speed_kmh, YAW=yaw_dps)


def write_vehicle(folder: Path, mapping: str = MAP) -> Path:
    """DBC and mapping in a folder; gives the mapping's path."""
    (folder / "vehicle.dbc").write_text(DBC)
    path = folder / "vehicle.can.yaml"
    path.write_text(mapping)
    return path


def write_log(path: Path, frames: Iterable[can.Message]) -> Path:
    """A log in the format that its suffix names."""
    with can.Logger(str(path)) as logger:
        for frame in frames:
            logger(frame)
    return path


def drive(vehicle: Vehicle, seconds: float = 2.0) -> list[can.Message]:
    """All messages every 20 ms; speed rises by 1 km/h each."""
    frames = []
    for i in range(round(seconds * 50)):
        at_s = START_S + i * 0.02
        frames += [
            vehicle.motion(at_s, float(i % 400), yaw_dps=-5.0),
            vehicle.frame(at_s + 0.001, "PEDALS", GAS=50.0 * (i % 2), BRAKE=i % 2, RAW_TORQUE=3),
            vehicle.frame(at_s + 0.002, "ACC", STATE=2, PAGE=0, GAP=40.0),
            vehicle.frame(at_s + 0.003, "ACC", STATE=2, PAGE=1, CLOSING=-1.0),
        ]
    return frames
