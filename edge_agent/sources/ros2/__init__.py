"""ROS 2 bags (sqlite3 and MCAP storage) through rosbags; no ROS installation is needed.

`ros2:BAG_FOLDER[,map=vehicle.ros.yaml]`.
"""

from __future__ import annotations
