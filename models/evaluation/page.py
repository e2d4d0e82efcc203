"""A report for people: `report.md` with its plots, beside `report.json`.

Says first how good the model is, then what it is compared with, then where it fails. Every
figure is of the document; a figure that does not exist is a dash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from models.evaluation.document import (
    ADE,
    CALIBRATION,
    FDE,
    LIGHT,
    MEAN_AP,
    MEAN_IOU,
    SCORE,
    VEHICLE_AP,
    EvaluationReport,
    ReportDocument,
    document_text,
)
from models.evaluation.intervals import Estimate
from models.evaluation.plots import draw_plots
from models.evaluation.probability import TOLD_FROM
from models.evaluation.report import OPERATING_PROBABILITY, Figure

HEADLINE = {
    MEAN_AP: "mean AP", SCORE: "NDS-style score", VEHICLE_AP: "vehicle AP at 2 m",
    "car_ap_2m": "car AP at 2 m", "truck_ap_2m": "truck AP at 2 m", "bus_ap_2m": "bus AP at 2 m",
    MEAN_IOU: "mean IoU, drivable and lane", LIGHT: "traffic-light accuracy",
    CALIBRATION: "calibration error (ECE)", ADE: "ADE over 3 s, m", FDE: "FDE at 3 s, m",
}  # fmt: skip
_ERROR_TITLES = {
    "translation_m": "position error, m", "scale": "size error, 1 - IoU",
    "orientation_rad": "heading error, rad", "velocity_mps": "velocity error, m/s",
}  # fmt: skip
_DRIVES_FOR_INTERVALS = 10
_CAPTIONS = {
    "precision_recall": "Precision over recall by class.",
    "ap_by_range": "Mean AP by distance.",
    "ap_by_slice": "Mean AP by slice; dotted: over everything.",
    "reliability": "What is told against what is so.",
    "light": "States of the traffic light.",
    "without_sensors": "Mean AP with one kind of sensor gone.",
}


def write_report(folder: Path, document: ReportDocument) -> Path:
    """Write `report.json`, the plots and `report.md` into a folder; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(document_text(document), "utf-8")
    plots = draw_plots(folder, document)
    page = folder / "report.md"
    page.write_text(page_text(document, plots), "utf-8")
    return page


def page_text(document: ReportDocument, plots: dict[str, str]) -> str:
    """The page as Markdown; `plots` are file names by what they show."""
    main = document.main
    parts = [
        f"# {main.model.title} on {main.data.name}", "", _summary(document), "",
        "## Overall", "", *comparison(document), "", *_picture(plots, "precision_recall"),
        "## By class", "", *_classes(main), "",
        "## By distance and slice", "", *_picture(plots, "ap_by_range"),
        *_picture(plots, "ap_by_slice"), *_slices(main), "",
        *_sensors(document, plots), *_elsewhere(document),
        "## Ground and light", "", *_ground_and_light(main), *_picture(plots, "light"),
        "## Motion", "", *_motion(main), "",
        "## Calibration", "", *_calibration(main), "", *_picture(plots, "reliability"),
        "## How it was measured", "", *_method(document),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _summary(document: ReportDocument) -> str:
    main = document.main
    text = (
        f"Mean AP {estimate_text(main.headline[MEAN_AP])}, vehicle AP at 2 m "
        f"{estimate_text(main.headline[VEHICLE_AP])}, on {main.data.frames} frames of "
        f"{main.data.drives} drive{'s' * (main.data.drives != 1)} with {main.data.truths} "
        "labelled boxes."
    )
    teacher = document.of_kind("teacher")
    share = None if teacher is None else _share(main.value(MEAN_AP), teacher.value(MEAN_AP))
    if share is not None:
        text += f" That is {share:.1%} of the teacher's mean AP."
    scored = {
        name: each.value for name, each in main.slice_ap.items() if each.value is not None
    }  # fmt: skip
    if scored:
        worst = min(scored, key=lambda name: scored[name])
        text += f" Its weakest slice is `{worst}` with {scored[worst]:.3f}."
    return text


def comparison(document: ReportDocument) -> list[str]:
    """Headline figures, a column for each whole run; intervals for the main one."""
    main, *others = document.whole()
    head = ["figure", f"**{main.model.title}**", "95 % interval"]
    rows = [
        [
            title, number(main.value(name)), interval_text(main.headline[name]),
            *(number(run.value(name)) for run in others),
        ]
        for name, title in HEADLINE.items() if name in main.headline
    ]  # fmt: skip
    rows += [
        [
            title, number(main.detection.overall.errors[name]), "",
            *(number(run.detection.overall.errors[name]) for run in others),
        ]
        for name, title in _ERROR_TITLES.items()
    ]  # fmt: skip
    return table([*head, *(run.model.title for run in others)], rows)


def _classes(run: EvaluationReport) -> list[str]:
    head = ["class", "boxes", "mean AP", "AP 0.5 m", "AP 1 m", "AP 2 m", "AP 4 m", "recall",
            "position, m", "velocity, m/s", "ECE"]  # fmt: skip
    rows = [
        [
            name, str(each.truths), number(each.mean_ap),
            *(number(each.ap.get(distance)) for distance in ("0.5", "1", "2", "4")),
            number(each.recall), number(each.errors.get("translation_m")),
            number(each.errors.get("velocity_mps")), number(each.calibration_error),
        ]
        for name, each in run.detection.overall.classes.items()
    ]  # fmt: skip
    return table(head, rows)


def _slices(run: EvaluationReport) -> list[str]:
    rows = [
        [
            f"`{name}`", str(each.frames), str(each.truths), number(each.mean_ap),
            interval_text(run.slice_ap[name]), number(each.recall),
            number(each.calibration_error),
        ]
        for name, each in run.detection.slices.items()
    ]  # fmt: skip
    return table(["slice", "frames", "boxes", "mean AP", "95 % interval", "recall", "ECE"], rows)


def _sensors(document: ReportDocument, plots: dict[str, str]) -> list[str]:
    rows = [
        [
            f"no {run.without}", estimate_text(run.headline[MEAN_AP]),
            "–" if kept is None else f"{kept:.1%}", number(run.value(VEHICLE_AP)),
        ]
        for run, kept in document.with_loss()
    ]  # fmt: skip
    if not rows:
        return []
    full = estimate_text(document.main.headline[MEAN_AP])
    whole = ["all", full, "100 %", number(document.main.value(VEHICLE_AP))]
    head = ["sensors", "mean AP", "kept", "vehicle AP at 2 m"]
    pictures = _picture(plots, "without_sensors")
    return ["## With sensors gone", "", *table(head, [whole, *rows]), "", *pictures]


def _elsewhere(document: ReportDocument) -> list[str]:
    runs = [document.main, *document.elsewhere()]
    if len(runs) == 1:
        return []
    rows = [
        [
            run.data.name, str(run.data.frames), estimate_text(run.headline[MEAN_AP]),
            number(run.value(VEHICLE_AP)), number(run.value(CALIBRATION)),
        ]
        for run in runs
    ]  # fmt: skip
    head = ["frames", "count", "mean AP", "vehicle AP at 2 m", "ECE"]
    return ["## On other domains", "", *table(head, rows), ""]


def _ground_and_light(run: EvaluationReport) -> list[str]:
    lines = ["No ground is labelled.", ""]
    if run.ground is not None:
        told = ", ".join(f"{name} {number(iou)}" for name, iou in run.ground.iou.items())
        lines = [f"Intersection over union: {told} ({run.ground.frames} frames).", ""]
    if run.light is None:
        return [*lines, "No light is labelled.", ""]
    light = run.light
    recall = ", ".join(f"{name} {number(value)}" for name, value in light.recall.items())
    told = f"accuracy {number(light.accuracy)}, ECE {number(light.calibration_error)}"
    return [*lines, f"Traffic light: {told}; right by state: {recall} ({light.frames} frames).", ""]


def _motion(run: EvaluationReport) -> list[str]:
    if not run.motion:
        return [
            "No detected object could be followed: that takes ego poses and track ids over 3 s."
        ]
    rows = [
        [
            name, str(each.followed), *(number(each.displacement_m[s]) for s in ("1", "2", "3")),
            number(each.ade_m), number(each.standing_ade_m), number(each.true_ade_m),
        ]
        for name, each in run.motion.items()
    ]  # fmt: skip
    head = ["objects", "followed", "1 s, m", "2 s, m", "3 s, m", "ADE, m",
            "ADE if it stood, m", "ADE by true velocity, m"]  # fmt: skip
    return [
        "Each detected object moved on at its detected velocity, against its true track.", "",
        *table(head, rows),
    ]  # fmt: skip


def _calibration(run: EvaluationReport) -> list[str]:
    table_ = run.calibration.overall
    worst = None if table_ is None else table_.worst
    rows = [[f"{name} m", number(error)] for name, error in run.calibration.by_range.items()]
    rows.append(["worst bin", number(worst)])
    rows.append(["all", number(None if table_ is None else table_.error)])
    return table(["where", "ECE"], rows)


def _method(document: ReportDocument) -> list[str]:
    lines = [
        "AP after nuScenes: matching by distance of centres on the ground at 0.5, 1, 2 and 4 m, "
        "precision over recall above 0.1. Classes without any true box have no part in a mean. "
        f"Recall is of boxes told with at least {OPERATING_PROBABILITY:g}; calibration is of "
        f"those told with at least {TOLD_FROM:g}, right at 2 m. A slice of hidden or rare "
        "objects still counts every false detection against it.",
        "",
        "Intervals are bootstrapped by drive.",
    ]
    few = {
        run.data.name: run.data.drives
        for run in document.runs if run.data.drives < _DRIVES_FOR_INTERVALS
    }  # fmt: skip
    for name, drives in few.items():
        lines.append(f"**{name} has {drives} drives: too few for intervals to be trusted.**")
    sets = {run.data.name: run.data for run in document.runs}
    lines += ["", *table(
        ["frames", "digest", "count", "drives"],
        [[s.name, f"`{s.digest}`", str(s.frames), str(s.drives)] for s in sets.values()],
    )]  # fmt: skip
    models = dict.fromkeys(run.model for run in document.runs)
    rows = [[m.name, m.kind, f"`{m.digest}`" if m.digest else "–"] for m in models]
    return [*lines, "", *table(["model", "kind", "digest"], rows)]


def _picture(plots: dict[str, str], name: str) -> list[str]:
    if name not in plots:
        return []
    return [f"![{_CAPTIONS[name]}]({plots[name]})", "", f"*{_CAPTIONS[name]}*", ""]


def _share(one: Figure, of: Figure) -> float | None:
    return None if one is None or not of else one / of


def number(value: Figure) -> str:
    """Three decimals; a dash for what does not exist."""
    return "–" if value is None else f"{value:.3f}"


def interval_text(each: Estimate) -> str:
    if each.low is None or each.high is None:
        return ""
    return f"{each.low:.3f} .. {each.high:.3f}"


def estimate_text(each: Estimate) -> str:
    """A figure with its interval."""
    interval = interval_text(each)
    return number(each.value) + (f" ({interval})" if interval else "")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, line by line."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
