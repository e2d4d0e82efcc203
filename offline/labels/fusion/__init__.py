"""Many detectors of one scene as one: boxes by weighted fusion."""
