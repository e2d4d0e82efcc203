"""How good tracks and automatic labels are: HOTA, CLEAR MOT, IDF1, the AMOTA family, AP,
calibration.

The measures of tracking know neither classes nor boxes: they work on a `Scene`, which holds who
was there, who was found, and how alike they are. `kitti_rules` makes scenes as the benchmarks
ask for; `report` joins everything.
"""
