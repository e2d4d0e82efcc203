"""The labelled phone drives, as the benchmark of the triggers reads them."""

from __future__ import annotations

from bench.phone_drives import PhoneDrive, fires_s, load_phone_drive, swerves_s

__all__ = ["PhoneDrive", "fires_s", "load_phone_drive", "swerves_s"]
