"""From what is required to what was shown, and back: for a safety case."""
