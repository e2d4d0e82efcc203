"""How good a model is: detection, ground, light, motion, calibration, and slices of each.

Everything is computed from boxes, scores and labels through one small port (`predictor`), so
that student, teacher and auto-labels are measured alike; only `adapters` knows networks.
"""
