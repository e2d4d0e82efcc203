"""Labelled frames as examples to train on, one at a time."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import InputError
from models.data.frames import LabelledFrames
from models.student.config import StudentConfig
from models.student.losses import TeacherFrame
from models.student.train import Example


class Examples(Sequence[Example]):
    """The frames with their targets, and with a teacher's words where they are given."""

    def __init__(
        self, frames: LabelledFrames, config: StudentConfig,
        words: Sequence[TeacherFrame] | None = None,
    ) -> None:  # fmt: skip
        if words is not None and len(words) != len(frames):
            raise InputError(f"{len(frames)} frames, but a teacher's words on {len(words)}")
        self._frames = frames
        self._targets = frames.targets(config)
        self._words = words

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, place: int) -> Example:  # type: ignore[override]
        word = None if self._words is None else self._words[place]
        return Example(self._frames.frame(place), self._targets[place], word)
