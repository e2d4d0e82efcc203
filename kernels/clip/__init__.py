"""The clip file: MCAP with Foxglove schemas, written deterministically and read defensively."""
