"""Which fires become clips: budget, thresholds, windows of capture, scenes known well enough."""
