"""Labelled drives as frames for a network: read once from clips, then kept packed.

| module | holds |
|---|---|
| `drives` | folders of clips and labels to frames, by the vehicle's own kernels |
| `packed` | frames of one drive as one file of arrays |
| `frames` | all frames of some folders, held in memory, one at a time as examples |
"""
