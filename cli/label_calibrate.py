"""`longtail label calibrate`: fits the confidence of automatic labels to truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from cli.output import JsonOption, print_json, progress_line
from contracts.errors import InputError

if TYPE_CHECKING:
    from offline.labels.calibration.calibrator import Calibrator
    from offline.labels.calibration.figures import ClassFigures, Estimate


def calibrate_labels(
    detections: Annotated[
        Path,
        typer.Option(
            "--detections", exists=True, file_okay=False,
            help="Folder of SEQUENCE.txt, or of folders that end in Car, Pedestrian, Cyclist.",
        ),
    ],
    calib: Annotated[
        Path,
        typer.Option("--calib", exists=True, file_okay=False, help="Folder of SEQUENCE.txt."),
    ],
    gt: Annotated[
        Path,
        typer.Option("--gt", exists=True, file_okay=False, help="Folder of KITTI tracking labels."),
    ],
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help="File for the calibrator.")],
    sequence: Annotated[
        list[str], typer.Option(help="Only this one; may be repeated. Else all of --gt.")
    ] = [],  # noqa: B006
    parameters: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Else those for PointRCNN's detections."),
    ] = None,
    link: Annotated[
        Literal["platt", "isotonic"], typer.Option(help="From the trees' odds to confidence.")
    ] = "platt",
    precision: Annotated[
        float, typer.Option(help="Of what is accepted unseen.", min=0.5, max=0.9999)
    ] = 0.98,
    risk: Annotated[
        float, typer.Option(help="That a vouched threshold keeps less.", min=0.001, max=0.5)
    ] = 0.1,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Fit the confidence of automatic labels to truth, and tell what it is worth.

    Labels every sequence, lets truth judge each box, fits trees and a link, and writes them with
    thresholds of acceptance to --out, for `longtail label auto --calibrator`. The figures are of
    sequences left out one after the other.
    """
    from offline.labels.auto.kitti_clips import detection_files, read_clip
    from offline.labels.auto.offline import unscored
    from offline.labels.auto.parameters import PUBLISHED, parameters_digest, read_parameters
    from offline.labels.auto.world import estimated_poses
    from offline.labels.calibration.calibrator import calibrator_text
    from offline.labels.calibration.figures import class_figures
    from offline.labels.calibration.fitting import Folds, Plan
    from offline.labels.calibration.samples import samples_of
    from offline.labels.kitti import read_labels

    names = list(dict.fromkeys(sequence)) or sorted(path.stem for path in gt.glob("*.txt"))
    if not names:
        raise InputError("no .txt file", str(gt))
    by_class = read_parameters(parameters or PUBLISHED)
    truth, made = {}, {}
    for number, name in enumerate(names, start=1):
        truth[name] = read_labels(gt / f"{name}.txt")
        clip = read_clip(detection_files(detections, name), calib / f"{name}.txt")
        made[name] = unscored(clip, estimated_poses(clip, by_class), by_class)
        progress_line(f"{number} of {len(names)} labelled: {name}")
    plan = Plan(link=link, precision=precision, risk=risk)
    samples = samples_of(truth, made)
    folds = Folds(samples, plan)
    calibrator = folds.calibrator(parameters_digest(by_class))
    figures = class_figures(samples, folds.held_out(), plan)
    out.write_text(calibrator_text(calibrator), encoding="utf-8")
    if as_json:
        print_json({
            "digest": calibrator.digest,
            "left_out": [each.model_dump() for each in figures],
            "acceptance": [each.model_dump() for each in calibrator.acceptance],
        })  # fmt: skip
        return
    for table in (_figures_table(figures, precision), _acceptance_table(calibrator)):
        Console().print(table)
    typer.echo(f"{out}: {calibrator.digest}")


def _figures_table(figures: tuple[ClassFigures, ...], precision: float) -> Table:
    table = Table(
        "class", "boxes", "ECE", "by range", "raw ECE", "accepted", "precision", "raw score alone",
        "its precision", "gained", "vouched", "its precision",
        title=f"each sequence left out once, in %; accepted of the true boxes at {precision:.0%}",
        box=SIMPLE, pad_edge=False,
    )  # fmt: skip
    for one in figures:
        ranges = "  ".join(f"{name} m {_percent(v)}" for name, v in one.ece_by_range.items())
        table.add_row(
            one.class_name, str(one.boxes), _interval(one.ece), ranges, _percent(one.raw_ece),
            _interval(one.accepted), _interval(one.precision), _interval(one.raw_accepted),
            _interval(one.raw_precision), _interval(one.gained), _interval(one.vouched),
            _interval(one.vouched_precision),
        )  # fmt: skip
    return table


def _acceptance_table(calibrator: Calibrator) -> Table:
    origin = calibrator.origin
    table = Table(
        "class", "range", "vouched by", "tracks", "accepted from", "expected from",
        title=f"{origin.precision:.0%} of what is accepted is right; with a guarantee that errs "
        f"with {origin.risk:.0%}, and as expected without one",
        box=SIMPLE, pad_edge=False,
    )  # fmt: skip
    for one in calibrator.acceptance:
        end = "" if one.high_m is None else f"{one.high_m:g}"
        table.add_row(
            one.class_name, f"{one.low_m:g}-{end} m", one.vouched_by, str(one.tracks),
            *("never" if v is None else f"{v:.4f}" for v in (one.accept_from, one.expected_from)),
        )  # fmt: skip
    return table


def _interval(one: Estimate) -> str:
    if one.value is None or one.low is None or one.high is None:
        return "–"
    return f"{_percent(one.value)} ({_percent(one.low)}–{_percent(one.high)})"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
