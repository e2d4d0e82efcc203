"""The student as it is: on recordings of real roads, and on simulated drives with all of its
sensors and with those that the recordings have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import InputError
from offline.runs.files import write_durably
from offline.sim_to_real import argoverse, kitti
from offline.sim_to_real.measure import Subject, measured_set
from offline.sim_to_real.page import page_text
from offline.sim_to_real.recorded import Recorded, frames_of
from offline.sim_to_real.records import OneSet, SimToReal

if TYPE_CHECKING:
    from models.data.drives import LabelledFrame
    from models.evaluation.predictor import Modality

REPORT_FILE, PAGE_FILE = "sim-to-real.json", "sim-to-real.html"


def sim_to_real(subject: Subject, real: Sequence[Path], simulated: Sequence[Path]) -> SimToReal:
    """Measure all sets.

    Args:
        real: folders of Argoverse 2 logs and of KITTI's tracking set, or folders of these.
        simulated: labelled drives.

    Raises `InputError` for a folder of neither kind, and for a model without a digest.
    """
    if subject.identity.digest is None:
        raise InputError("the model has no digest to be told by")
    sets = [
        measured_set(
            subject, frames_of(one, subject.config), one.name, "real", view=one.view,
            notes=one.notes,
        )
        for one in recordings(real)
    ]  # fmt: skip
    if simulated:
        sets += _simulated(subject, simulated, {name for each in sets for name in each.sensors})
    return SimToReal(
        model=subject.identity.digest, model_name=subject.identity.name, sets=tuple(sets)
    )


def recordings(roots: Sequence[Path]) -> Iterator[Recorded]:
    """All recordings below the roots, in the order of their paths."""
    for root in roots:
        folders = [root, *sorted(path for path in root.glob("*/") if path.is_dir())]
        logs = [folder for folder in folders if argoverse.is_log(folder)]
        sets = [folder for folder in folders if kitti.is_set(folder)]
        if not logs and not sets:
            raise InputError("neither an Argoverse 2 log nor KITTI's tracking set", str(root))
        for log in logs:
            yield argoverse.read_recording(log)
        for each in sets:
            yield from kitti.read_recordings(each)


def write(report: SimToReal, out: Path) -> Path:
    """Report and page into a folder; the page's path."""
    write_durably(out / REPORT_FILE, (report.model_dump_json(indent=1) + "\n").encode())
    write_durably(out / PAGE_FILE, page_text(report).encode())
    return out / PAGE_FILE


def _simulated(subject: Subject, roots: Sequence[Path], real: set[str]) -> Iterator[OneSet]:
    """With every sensor, and where recordings lack some, without these too."""
    from models.data.drives import drive_folders
    from models.evaluation.predictor import MODALITIES, taken_away

    folders = drive_folders(roots)
    yield measured_set(subject, _frames(subject, folders), "simulated", "simulated")
    lost: list[Modality] = [name for name in MODALITIES if name not in real] if real else []
    if not lost:
        return

    def blinded() -> Iterator[LabelledFrame]:
        from dataclasses import replace

        for each in _frames(subject, folders):
            frame = each.frame
            for name in lost:
                frame = taken_away(frame, name, subject.config.lift)
            yield replace(each, frame=frame)

    told = f"simulated, only {', '.join(sorted(real))}"
    yield measured_set(subject, blinded(), told, "simulated")


def _frames(subject: Subject, folders: Sequence[Path]) -> Iterator[LabelledFrame]:
    """A drive in memory at a time."""
    from models.data.drives import LABEL_FOLDER, read_drive

    for folder in folders:
        if any((folder / LABEL_FOLDER).glob("*.npz")):
            yield from read_drive(folder, subject.config)
