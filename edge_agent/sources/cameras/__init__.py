"""Cameras through PyAV: video files, V4L2 devices, network streams.

`camera:drive.mp4,name=front`, `camera:/dev/video0,name=front`, `camera:rtsp://host/stream,name=rear`.
"""

from __future__ import annotations
