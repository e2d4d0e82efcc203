"""The bird's-eye inputs of a model, made outside its graph: the same code trains and drives.

| module | makes |
|---|---|
| `motion` | where the ego was at a sweep's time, seen from now |
| `raster` | the rasters of lidar sweeps and radar tracks |
| `lift` | the gather table by which camera features reach the grid |
| `pattern` | the stored inputs of a model's self-test |
"""
