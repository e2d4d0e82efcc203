"""`longtail label ...`: how good automatic labels are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from cli.label_auto import auto_label
from cli.label_calibrate import calibrate_labels
from cli.label_clip import label_clips
from cli.label_export import export_labels, import_labels
from cli.label_queue import app as queue_app
from cli.label_route import route_labels
from cli.label_set import make_label_set
from cli.label_settle import settle_labels
from cli.label_simulate import simulate_answers
from cli.output import JsonOption, print_json
from contracts.errors import InputError

if TYPE_CHECKING:
    from offline.labels.evaluation.report import ClassReport
    from offline.labels.kitti import LabelFile

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make labels, and measure them."""


app.command("auto")(auto_label)
app.command("calibrate")(calibrate_labels)
app.command("clip")(label_clips)
app.command("export")(export_labels)
app.command("import")(import_labels)
app.add_typer(queue_app, name="queue")
app.command("route")(route_labels)
app.command("set")(make_label_set)
app.command("settle")(settle_labels)
app.command("simulate")(simulate_answers)


@app.command("eval")
def evaluate_labels(
    gt: Annotated[
        Path,
        typer.Option("--gt", exists=True, file_okay=False, help="Folder of KITTI tracking labels."),
    ],
    pred: Annotated[
        Path,
        typer.Option("--pred", exists=True, file_okay=False, help="Folder of tracks with scores."),
    ],
    sequence: Annotated[
        list[str], typer.Option(help="Only this one; may be repeated. Else all of --gt.")
    ] = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Measure tracks against labels: HOTA, CLEAR MOT, AMOTA family, AP by range, calibration.

    Files of both folders are called alike, SEQUENCE.txt.
    """
    from offline.labels.evaluation.report import evaluate, flat

    names = sequence or sorted(path.stem for path in gt.glob("*.txt"))
    if not names:
        raise InputError("no .txt file", str(gt))
    reports = evaluate(_labels(gt, names), _labels(pred, names))
    if not reports:
        raise InputError("no class has a true box that counts", str(gt))
    if as_json:
        print_json([flat(report) for report in reports])
        return
    for table in _tables(reports):
        Console().print(table)


def _labels(folder: Path, names: Sequence[str]) -> dict[str, LabelFile]:
    from offline.labels.kitti import read_labels

    return {name: read_labels(folder / f"{name}.txt") for name in names}


def _tables(reports: Sequence[ClassReport]) -> list[Table]:
    image = _table(
        "2D boxes, as KITTI's benchmark",
        "boxes", "HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDS", "FRAG",
    )  # fmt: skip
    space = _table(
        "3D boxes, as AB3DMOT",
        "IoU", "sAMOTA", "AMOTA", "AMOTP", "MOTA", "MOTP", "IDS", "FRAG",
    )  # fmt: skip
    boxes = _table(
        "3D boxes one by one, by range in m",
        "range", "boxes", "AP 0.25", "AP 0.5", "AP 0.7", "ECE", "ECE 0.5", "LaECE", "LaACE",
    )  # fmt: skip
    unseen = _table(
        "accepted unseen at 98 % precision, the threshold fixed on other sequences",
        "true boxes", "precision", "from confidence",
    )  # fmt: skip
    for report in reports:
        one = report.image
        image.add_row(
            report.class_name, str(report.truths),
            *_percent(one.hota, one.deta, one.assa, one.mota, one.idf1),
            str(one.ids), str(one.frag),
        )  # fmt: skip
        for overlap, each in report.space.items():
            space.add_row(
                report.class_name, overlap,
                *_percent(each.samota, each.amota, each.amotp, each.mota, each.motp),
                str(each.ids), str(each.frag),
            )  # fmt: skip
        for distance, found in report.boxes.items():
            boxes.add_row(
                report.class_name, distance, str(found.truths),
                *_percent(
                    *found.ap.values(), found.ece, found.ece_at["0.5"], found.laece, found.laace
                ),
            )  # fmt: skip
        if report.accepted is not None:
            told = report.accepted
            unseen.add_row(
                report.class_name, *_percent(told.share, told.precision, told.confidence)
            )
    if all(found.ece is None for report in reports for found in report.boxes.values()):
        boxes.caption = "no calibration: the scores are no probabilities"
    return [image, space, boxes, *([unseen] if unseen.row_count else [])]


def _table(title: str, *names: str) -> Table:
    return Table("class", *names, title=title, box=SIMPLE, pad_edge=False)


def _percent(*values: float | None) -> list[str]:
    return ["–" if value is None else f"{100 * value:.2f}" for value in values]
