"""The bird's-eye inputs of a model, made outside its graph: the same code trains and drives.

| module | makes |
|---|---|
| `motion` | where the ego was at a sweep's time, seen from now |
| `raster`, `radar` | the rasters of lidar sweeps and of radar tracks |
| `lift` | the gather table by which camera features reach the grid |
| `window` | all inputs of one instant, from the samples as they come |
| `pattern` | the stored inputs of a model's self-test |
"""
