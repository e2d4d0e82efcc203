"""Channels of a clip: names, schemas, and which are latched.

| channel                    | schema                      | content                        |
|----------------------------|-----------------------------|--------------------------------|
| `/signals/<signal>`        | `longtail.Signal`           | one catalogued scalar, double  |
| `/camera/<name>`           | `foxglove.CompressedImage`  | JPEG or PNG                    |
| `/camera/<name>/calibration` | `foxglove.CameraCalibration` | latched                     |
| `/lidar/<name>`            | `longtail.LidarSweep`       | range-image codec (kernels)    |
| `/radar/<name>`            | `longtail.RadarTracks`      | tracks in the ego frame        |
| `/pose`                    | `foxglove.FrameTransform`   | world from ego                 |
| `/tf`                      | `foxglove.FrameTransform`   | ego from sensor, latched first |
| `/gnss/fix`                | `foxglove.LocationFix`      |                                |
| `/planner/trajectory`      | `longtail.PlannedTrajectory` | ego frame                     |
| `/perception/<camera>`     | `longtail.Perception`       | detections, embedding          |
| `/perception/<camera>/annotations` | `foxglove.ImageAnnotations` | the same, to look at   |
| `/perception/bev`          | `longtail.Perception`       | the same of a bird's-eye model |
| `/perception/bev/scene`    | `foxglove.SceneUpdate`      | its boxes, to look at          |
| `/clip/cause`              | `foxglove.Log`              | why the clip was kept          |

A message's log time is `mono_ns + utc_minus_mono_ns` of the manifest, so both clocks can be
read back exactly.
"""

from __future__ import annotations

SIGNAL_PREFIX = "/signals/"
POSE = "/pose"
TRANSFORMS = "/tf"
FIX = "/gnss/fix"
PLAN = "/planner/trajectory"
CAUSE = "/clip/cause"
PERCEPTION_PREFIX = "/perception/"
BEV = "bev"
"""Stands for the camera's channel in frames of a bird's-eye model, which has no single one."""


def signal_channel(name: str) -> str:
    """Channel of a catalogued signal."""
    return f"{SIGNAL_PREFIX}{name}"


def perception_channel(camera_channel: str) -> str:
    """`/camera/front` to `/perception/front`, `bev` to `/perception/bev`."""
    return PERCEPTION_PREFIX + camera_channel.removeprefix("/camera/")


def annotation_channel(camera_channel: str) -> str:
    return perception_channel(camera_channel) + "/annotations"


def scene_channel(view: str) -> str:
    return perception_channel(view) + "/scene"


def calibration_channel(camera_channel: str) -> str:
    return camera_channel + "/calibration"
