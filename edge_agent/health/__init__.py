"""What the agent says about itself: reports, status, metrics, and `longtail agent doctor`."""
