"""Labelled drives as a nuScenes database, and back.

    OUT/v1.0-longtail/*.json     thirteen tables, and `longtail.json` (what they have no words for)
    OUT/samples/CAM_FRONT/…      pictures (JPEG) and sweeps (.pcd.bin) at keyframes
    OUT/sweeps/CAM_FRONT/…       the same between keyframes
    OUT/maps/…                   an empty mask: nuScenes' own kit wants one, clips have no map

After nuScenes' schema (nuscenes-devkit, docs/schema_nuscenes.md; Caesar et al. 2020). The global
frame is the drive's world, boxes lie in it by the ego's pose at their instant. Sizes are width,
length, height; rotations w, x, y, z; times microseconds of UTC.

Told by the tables: cuboid, class, track (an instance; a track that changes its class is one for
each), lidar points as counted in what is exported, visibility in its four steps, whether
something moves. Told by `longtail.json`: each box as labelled, drive, `mono_ns`, and what is told
of a frame besides its boxes; ignored boxes too, which nuScenes would take for truth. So labels of
keyframes come back to the last bit. Not carried: labelled frames between keyframes, radar, signals.

A sweep's points are told as if all were taken at its instant; intensity is 0 to 255, rings count
from the top.
"""
