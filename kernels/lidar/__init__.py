"""Parts of the lidar codec; callers use `kernels.lidar_codec`."""
