"""From the fleet to what was trained on."""

from __future__ import annotations

from html import escape

from offline.loop_report.facts import (
    AcquisitionFacts,
    DatasetFacts,
    FleetFacts,
    FunnelFacts,
    ReviewFacts,
    TrainingFacts,
)
from offline.loop_report.html import heading, ids, legend, missing, pairs, paragraph, section, table
from offline.loop_report.plots.funnel import funnel_plot
from offline.loop_report.plots.losses import losses_plot
from offline.loop_report.plots.shares import shares_plot
from offline.loop_report.words import NOT_MEASURED, byte_count, duration, number, percent


def fleet_section(fleet: FleetFacts | None, funnel: FunnelFacts | None) -> str | None:
    """What vehicles did, and how far their clips got."""
    if fleet is None and funnel is None:
        return None
    parts = [missing("What vehicles did") if fleet is None else _fleet(fleet)]
    parts += [heading("How far clips got")]
    parts += [missing() if funnel is None else funnel_plot(funnel)]
    if funnel is not None and funnel.survival is not None:
        told = f"{percent(funnel.survival)} of the uploaded clips survive to training."
        parts.append(paragraph(told))
    return section("fleet", "Fleet and funnel", "", *parts)


def _fleet(fleet: FleetFacts) -> str:
    days = fleet.vehicle_days

    def each_day(count: int | None) -> str:
        return NOT_MEASURED if count is None else number(count / days)

    used = NOT_MEASURED
    if fleet.budget_bytes and fleet.kept_bytes is not None:
        used = (
            f"{percent(fleet.kept_bytes / fleet.budget_bytes)}"
            f" ({byte_count(fleet.kept_bytes)} of {byte_count(fleet.budget_bytes)})"
        )
    rows = [
        ("vehicles, vehicle-days", f"{fleet.vehicles:,}, {number(days)}"),
        ("fires for each vehicle-day", each_day(fleet.fires)),
        ("clips for each vehicle-day", each_day(fleet.clips)),
        ("uploads", number(fleet.uploads)), ("byte budget used", used),
    ]  # fmt: skip
    return pairs(rows)


def acquisition_section(acquisition: AcquisitionFacts | None) -> str | None:
    """What was chosen to label, and what it cost."""
    if acquisition is None:
        return None
    rows = [
        (escape(each.stream), f"{each.clips:,}", number(each.expected_cost),
         number(each.actual_cost))
        for each in acquisition.streams
    ]  # fmt: skip
    pool = "" if acquisition.pool is None else f" of {acquisition.pool:,} clips"
    budget = "" if acquisition.budget is None else f" with a budget of {number(acquisition.budget)}"
    return section(
        "acquisition", "Chosen to label", f"Out{pool or ' of the pool'}{budget}, in"
        f" {acquisition.unit}.",
        table(("stream", "clips", "expected cost", "actual cost"), rows, numbers=(1, 2, 3)),
    )  # fmt: skip


def review_section(review: ReviewFacts | None) -> str | None:
    """What people had to do, how far they agree, and what may still be wrong."""
    if review is None:
        return None
    rows = [
        ("boxes", number(review.boxes)),
        ("accepted without people", percent(review.auto_accepted)),
        ("sent to consensus", percent(review.consensus)),
        ("sent to an expert", percent(review.expert)),
        ("waiting, ignored until then", percent(review.waiting)),
        ("kappa on class (Fleiss)", number(review.kappa)),
        *((f"ICC of {name}", number(value)) for name, value in sorted(review.icc.items())),
        ("wrong boxes expected to stay", percent(review.residual_error)),
        ("at most, with 95 %", percent(review.error_bound)),
        ("labeller time expected", duration(review.expected_s)),
        ("labeller time taken", duration(review.labeller_s)),
    ]
    lead = "These people are simulated, with stated noise." if review.simulated_people else ""
    return section("review", "Labels and people", lead, pairs(rows))


def dataset_section(dataset: DatasetFacts | None) -> str | None:
    """What was trained on."""
    if dataset is None:
        return None
    total = sum(dataset.by_source.values())
    rows = [
        (escape(name), f"{count:,}", percent(count / total) if total else "")
        for name, count in sorted(dataset.by_source.items())
    ]
    splits = ", ".join(f"{name} {count:,}" for name, count in sorted(dataset.by_split.items()))
    parts = [
        table(("labels by", "frames", "share"), rows, numbers=(1, 2))
        if rows else missing("Frames by source"),
        f"<p>{number(dataset.frames)} frames{f' ({escape(splits)})' if splits else ''}, replay"
        f" {percent(dataset.replay_share)} of an epoch</p>",
    ]  # fmt: skip
    if dataset.before or dataset.after:
        marks = [("grey", "as it came"), ("blue", "as trained on")]
        if dataset.reference:
            marks.append(("ink", "mark: what the fleet meets"))
        parts += [heading("Slices before and after re-balancing"), legend(marks),
                  shares_plot(dataset)]  # fmt: skip
    return section("dataset", "Dataset", "", *parts, ids(version=dataset.digest))


def training_section(training: TrainingFacts | None) -> str | None:
    """Losses, and from which model to which."""
    if training is None:
        return None
    took = "" if training.seconds is None else f"Took {duration(training.seconds)}"
    took += f" on {training.device}." if took and training.device else ("." if took else "")
    return section(
        "training", "Training", took, losses_plot(training.losses) or missing("Losses"),
        ids(parent=training.parent, model=training.model),
    )  # fmt: skip
