"""Trigger conditions, computed alike on the vehicle and in a backtest.

`table` turns specs into arrays, `conditions` holds one numba kernel per kind, `step` runs the
whole table over one tick, `engine` is the Python face of it all.
"""
