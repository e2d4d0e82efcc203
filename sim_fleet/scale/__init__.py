"""Light mode: a fleet as requests in virtual time, to plan by and to load a receiver."""
