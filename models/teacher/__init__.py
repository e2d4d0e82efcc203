"""The teacher: an ensemble that sees a moment's past and future, and never drives.

| module | holds |
|---|---|
| `config` | the student's configuration, with sweeps on both sides of the instant |
| `network` | one sight, and tasks for each of the members |
| `train` | the sight first, then the members, each on drives of its own |
| `predict` | all members over the frame and its mirror, fused; its word for distillation |
"""
