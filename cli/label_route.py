"""`longtail label route`: which auto-labels stand, and what people are asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from cli.label_queue import FolderOption, with_queue
from cli.output import JsonOption, print_json
from contracts.errors import InputError

if TYPE_CHECKING:
    from offline.labels.qa.audit import AuditPlan
    from offline.labels.review.groups import Rule
    from offline.labels.review.route import Report

GoldOption = Annotated[
    list[Path],
    typer.Option(
        "--gold", exists=True, file_okay=False,
        help="Drives whose labels are known to be right (experts', an oracle's); repeat.",
    ),
]  # fmt: skip


def route_labels(
    drives: Annotated[
        list[Path],
        typer.Argument(
            metavar="DRIVE...", exists=True, file_okay=False, help="Auto-labelled drives."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Folder for the routed labels.")
    ],
    calibrator: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Whose thresholds accept (the labeller's)."),
    ] = None,
    accept: Annotated[
        float | None,
        typer.Option(help="Where no calibrator fits: accept from this confidence, unguaranteed."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="Labeller-seconds for all tasks together. Else no limit."),
    ] = None,
    precision: Annotated[
        float, typer.Option(min=0, max=0.9999, help="Expected, of what is accepted altogether.")
    ] = 0.98,
    gold: GoldOption = [],  # noqa: B006
    gold_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Of places in the queue.")
    ] = 0.1,
    audit_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of accepted tracks that people judge all the same.")
    ] = 0.05,
    most_missed: Annotated[
        float,
        typer.Option(min=0, max=1, help="Drives that may lack a larger share are searched."),
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Of gold and audits.")] = 0,
    state: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="The journal's folder: audits tighten thresholds."),
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write tasks into this file, not into the queue."),
    ] = None,
    actor: Annotated[
        str, typer.Option(envvar="LONGTAIL_ACTOR", help="Who adds, for the audit log.")
    ] = "operator",
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Accept what is sure, ask people about the rest within a budget, ignore what must wait.

    Writes OUT/<drive>/labels and OUT/routing.json; tasks go into the review queue. The same call
    again changes nothing.
    """
    from offline.labels.formats.files import write_whole
    from offline.labels.qa.audit import AuditPlan
    from offline.labels.queue.task_files import tasks_text
    from offline.labels.review.drives import read_drives
    from offline.labels.review.route import Ways, default_policy, route, write_routed
    from offline.labels.review.tasks import Watching

    plan = AuditPlan()
    ways = Ways(
        _rule(calibrator, accept, precision, state, plan), default_policy(budget, precision),
        Watching(gold_share=gold_share, audit_share=audit_share, seed=seed), plan, most_missed,
    )  # fmt: skip
    routed = route(read_drives(drives), read_drives(gold) if gold else {}, ways)
    write_routed(routed, out)
    if tasks is not None:
        write_whole(tasks, tasks_text(routed.tasks).encode())
        new = len(routed.tasks)
    else:
        new = with_queue(
            folder, lambda queue: queue.add(routed.tasks, actor), create=True
        ).new  # fmt: skip
    report = routed.record.report
    if as_json:
        print_json(report.model_dump(mode="json") | {"new_tasks": new})
        return
    _tell(report, new)


def _rule(
    calibrator: Path | None, accept: float | None, precision: float, state: Path | None,
    plan: AuditPlan,
) -> Rule:  # fmt: skip
    from dataclasses import replace

    from contracts.geometry import TAXONOMY
    from offline.labels.calibration.calibrator import read_calibrator
    from offline.labels.review.groups import one_for_all, rule_of
    from offline.labels.review.journal import read_journal
    from offline.labels.review.standing import audit_state

    if calibrator is not None and accept is None:
        rule = rule_of(read_calibrator(calibrator))
    elif accept is not None and calibrator is None:
        rule = one_for_all(accept, precision, TAXONOMY)
    else:
        raise InputError("say from when on labels are accepted", "--calibrator or --accept")
    if state is None:
        return rule
    return replace(rule, level=audit_state(read_journal(state), rule.digest(), plan).level)


def _tell(report: Report, new: int) -> None:
    typer.echo(f"accepted by {report.rule}")
    if report.level:
        typer.echo(f"audits have tightened the thresholds {report.level} times")
    table = Table("class and range", *_FATES, "errors expected", box=SIMPLE, pad_edge=False)
    cells: dict[str, dict[str, Any]] = {}
    for cell in report.cells:
        cells.setdefault(cell.group, {})[cell.fate] = cell
    for group, by_fate in cells.items():
        counts = [str(by_fate[fate].boxes) if fate in by_fate else "" for fate in _FATES]
        errors = sum(cell.expected_errors for cell in by_fate.values())
        table.add_row(group, *counts, f"{errors:.1f}")
    Console().print(table)
    budget = "no limit" if report.budget_s is None else f"{report.budget_s:.0f} s"
    asked = ", ".join(f"{count} {name}" for name, count in report.tasks.items()) or "none"
    typer.echo(f"tasks: {asked} ({new} new); {sum(report.cost_s.values()):.0f} s of {budget}")
    typer.echo(f"errors expected to stay: {report.expected_errors:.1f} boxes, with this budget at "
               f"least {report.least_expected_errors:.1f}")  # fmt: skip
    for miss in report.misses:
        what = "to be searched" if miss.searched else "not searched: the budget's part is used up"
        typer.echo(f"{miss.drive} may lack {miss.most} objects or fewer where gold tells; {what}")
        if miss.uncertain:
            typer.echo(f"  its emptiness proves nothing for: {', '.join(miss.uncertain)}")


_FATES = ("stands", "accepted", "consensus", "expert", "waits", "rejected")
