"""How a sensor's mount stood over a vehicle's clips."""

from __future__ import annotations

import math
from collections.abc import Callable

from offline.health.records import MountHealth, MountSample
from offline.loop_report.svg import WIDE, dot, drawing, line, path, scale_of, text

_ANGLES: tuple[tuple[str, Callable[[MountSample], float | None]], ...] = (
    ("roll, °", lambda each: math.degrees(each.roll_rad)),
    ("pitch, °", lambda each: math.degrees(each.pitch_rad)),
    ("yaw, °", lambda each: None if each.yaw_rad is None else math.degrees(each.yaw_rad)),
    ("height, cm", lambda each: 100 * each.height_m),
)
_LEFT, _ROW, _HEAD = 130.0, 62.0, 24.0


def mount_plot(mount: MountHealth) -> str:
    """A line an angle over the clips in their order; red lines are alarms."""
    samples = mount.samples
    across = scale_of([0.0, float(max(len(samples) - 1, 1))], _LEFT, WIDE - 10)
    shown = [(n, [(k, v) for k, s in enumerate(samples) if (v := of(s)) is not None])
             for n, of in _ANGLES]  # fmt: skip
    shown = [(name, points) for name, points in shown if points]
    parts = [text(0, 14, f"{mount.vehicle_id}, {mount.sensor}", "h")]
    for row, (name, points) in enumerate(shown):
        top = _HEAD + row * _ROW
        values = [value for _, value in points]
        up = scale_of([*values, 0.0], top + _ROW - 12, top + 4)
        parts.append(text(_LEFT - 40, top + _ROW / 2, name, "t", "end"))
        parts.append(line(_LEFT, up(0), WIDE, up(0), "grid"))
        parts.append(text(_LEFT - 6, up(0) + 4, "0", "s", "end"))
        parts.append(text(_LEFT - 6, up(max(values, key=abs)) + 4,
                          f"{max(values, key=abs):.2f}", "s", "end"))  # fmt: skip
        parts.append(path([(across(k), up(v)) for k, v in points], "curve c0"))
        parts += [dot(across(k), up(v), 2, "dot after") for k, v in points]
        for alarm in mount.alarms:
            if name.startswith(alarm.angle):
                k = next((k for k, s in enumerate(samples) if s.clip_id == alarm.clip_id), None)
                if k is not None:
                    parts.append(line(across(k), top, across(k), top + _ROW - 8, "alarm"))
    return drawing(WIDE, _HEAD + len(shown) * _ROW, "A sensor's mount over time", parts)
