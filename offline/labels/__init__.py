"""Labels: reading and writing them, making them from detections, and how good they are."""
