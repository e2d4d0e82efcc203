"""What a teacher sees: the student's sensors, and lidar sweeps on both sides of the instant."""

from __future__ import annotations

from models.student.config import StudentConfig

SLOTS_ASIDE = 2
"""Lidar slots of the past, and as many of the future, beside the one of now."""


def teacher_config(student: StudentConfig) -> StudentConfig:
    """The teacher's configuration, on the student's grid and cameras."""
    lidar = student.lidar.model_copy(update={"slots": 2 * SLOTS_ASIDE + 1})
    return student.model_copy(
        update={"size": f"{student.size}-teacher", "lidar": lidar, "ahead_slots": SLOTS_ASIDE}
    )
