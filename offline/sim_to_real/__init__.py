"""The student as it is, on recordings of real roads beside simulated drives."""
