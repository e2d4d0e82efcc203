"""A frame in three dimensions, as FiftyOne's viewer takes it: a PCD file and a scene around it."""

from __future__ import annotations

import json
import uuid

import numpy as np

from contracts.samples import Float32s

_NAMESPACE = uuid.UUID("5a0c3b1e-8d0e-5e0b-9a53-6f2f8c7d1b40")
_FIELDS = ("x", "y", "z", "intensity")


def pcd_bytes(points: Float32s) -> bytes:
    """A binary PCD of float32 [n, 4]: x, y, z in metres, intensity in 0..1."""
    count, width = len(points), len(_FIELDS)
    head = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {' '.join(_FIELDS)}\nSIZE {'4 ' * width}".rstrip()
        + f"\nTYPE {'F ' * width}".rstrip()
        + f"\nCOUNT {'1 ' * width}".rstrip()
        + f"\nWIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA binary\n"
    )
    return head.encode() + np.ascontiguousarray(points, dtype="<f4").tobytes()


def scene_bytes(name: str, points_file: str | None) -> bytes:
    """A scene with z up and at most one point cloud, whose file lies beside it."""
    clouds = [] if points_file is None else [_point_cloud(name, points_file)]
    return json.dumps(_node(name, "Scene", "Scene", clouds) | {
        "__FO3D_VERSION": "1.0",
        "camera": {"position": None, "lookAt": None, "up": "Z", "aspect": None, "fov": 50.0,
                   "near": 0.1, "far": 2000.0},
        "lights": None,
        "background": None,
    }, indent=1).encode()  # fmt: skip


def _point_cloud(name: str, points_file: str) -> dict[str, object]:
    return _node(f"{name}/points", "PointCloud", "points", []) | {
        "centerGeometry": False,
        "pcdPath": points_file,
        "defaultMaterial": {
            "_type": "PointCloudMaterial", "opacity": 1.0, "shadingMode": "height",
            "customColor": "#ffffff", "pointSize": 1.0, "attenuateByDistance": False,
        },
        "flagForProjection": True,
    }  # fmt: skip


def _node(
    key: str, kind: str, name: str, children: list[dict[str, object]]
) -> dict[str, object]:  # fmt: skip
    """What all nodes have; the uuid follows from the key."""
    return {
        "_type": kind, "uuid": str(uuid.uuid5(_NAMESPACE, key)), "name": name, "visible": True,
        "position": [0.0, 0.0, 0.0], "quaternion": [0.0, 0.0, 0.0, 1.0], "scale": [1.0, 1.0, 1.0],
        "children": children,
    }  # fmt: skip
