"""A camera's calibration as people write it: pinhole numbers and where the camera sits.

```yaml
apiVersion: longtail/v1
kind: CameraCalibration
width: 1280
height: 720
fx: 1000.0
fy: 1000.0
cx: 640.0
cy: 360.0
position_m: [1.6, 0.0, 1.4]          # of the camera, in the ego frame
yaw_pitch_roll_deg: [0.0, -2.0, 0.0] # of its view: 0, 0, 0 looks forward; pitch is positive down
```
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from contracts.geometry import Finite
from contracts.samples import CalibrationSample, Float64s
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from contracts.trigger_spec import Strict

Pixels = Annotated[int, Field(ge=1, le=65_536)]
Focal = Annotated[float, Field(gt=0, le=1e6)]

_FORWARD_LOOKING = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""ego from camera of a camera that looks straight ahead: z forward, x right, y down."""


class CalibrationFile(Strict):
    """Pinhole intrinsics of the undistorted picture, and the mount."""

    api_version: Literal["longtail/v1"] = Field(alias="apiVersion")
    kind: Literal["CameraCalibration"]
    width: Pixels
    height: Pixels
    fx: Focal
    fy: Focal
    cx: Finite
    cy: Finite
    position_m: tuple[Finite, Finite, Finite]
    yaw_pitch_roll_deg: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)

    def sample(self, channel: str, mono_ns: int) -> CalibrationSample:
        """The latched sample of a camera channel."""
        intrinsics = np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])
        ego_SE3_camera = np.eye(4)
        ego_SE3_camera[:3, :3] = _rotation(self.yaw_pitch_roll_deg) @ _FORWARD_LOOKING
        ego_SE3_camera[:3, 3] = self.position_m
        return CalibrationSample(
            channel, mono_ns, self.width, self.height, intrinsics, ego_SE3_camera,
            "camera_" + channel.removeprefix("/camera/"),
        )  # fmt: skip


def _rotation(yaw_pitch_roll_deg: tuple[float, float, float]) -> Float64s:
    """About z, then the new y, then the new x, as ISO 8855 has it."""
    yaw, pitch, roll = np.deg2rad(yaw_pitch_roll_deg)
    cz, sz, cy, sy, cx, sx = (
        np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll),
    )  # fmt: skip
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1.0]])
    about_y = np.array([[cy, 0, sy], [0, 1.0, 0], [-sy, 0, cy]])
    about_x = np.array([[1.0, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return np.asarray(about_z @ about_y @ about_x)


def load_calibration(path: Path) -> CalibrationFile:
    """Read a calibration. Raises `InputError` with `file:line:column`."""
    return validate_located(CalibrationFile, parse_yaml(read_text(path), str(path)))
