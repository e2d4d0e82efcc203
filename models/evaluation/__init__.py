"""How good a model is: detection, ground, light, calibration, and slices of each.

Knows no network: everything is computed from boxes, scores and labels, so that student,
teacher and auto-labels are measured alike.
"""
