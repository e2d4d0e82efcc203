"""`longtail label settle`: people's answers become decisions and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.label_queue import FolderOption, with_queue
from cli.label_route import GoldOption
from cli.output import JsonOption, print_json


def settle_labels(
    routed: Annotated[
        Path,
        typer.Argument(metavar="ROUTED", exists=True, file_okay=False, help="Of `label route`."),
    ],
    out: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Folder for the labels, to go on with.")
    ],
    state: Annotated[
        Path,
        typer.Option(
            "--state", file_okay=False,
            help="Folder of the journal: one for all routings of an auto-labeller.",
        ),
    ],
    gold: GoldOption = [],  # noqa: B006
    actor: Annotated[
        str, typer.Option(envvar="LONGTAIL_ACTOR", help="Who decides, for the audit log.")
    ] = "operator",
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Decide what is answered, and write the labels that follow: OUT/<drive>/labels.

    Annotators' answers are fused; where they disagree an expert is asked. Gold scores annotators,
    audits tighten the thresholds of `label route --state`. Each answer is decided once: the same
    call again changes nothing.
    """
    from contracts.geometry import taxonomy_of
    from offline.labels.queue.store import ReviewQueue
    from offline.labels.review.drives import read_drives
    from offline.labels.review.journal import opened_journal
    from offline.labels.review.route import read_record
    from offline.labels.review.settle import Done, Ground, settle, write_settled
    from offline.labels.review.told import standing_of

    record = read_record(routed)
    taxonomy = taxonomy_of(record.taxonomy_version)
    ground = Ground(
        read_drives([routed]), record, read_drives(gold) if gold else {}, taxonomy
    )  # fmt: skip
    with opened_journal(state) as journal:

        async def work(queue: ReviewQueue) -> Done:
            return await settle(queue, journal, ground, actor)

        done = with_queue(folder, work)
        done.written = write_settled(journal, ground, out)
        told = standing_of(journal.lines, taxonomy, record.rule().digest(), ground.plan)
    told |= {
        "decided": dict(sorted(done.decided.items())), "tasks_told": done.told,
        "files_written": done.written, "open": done.open,
    }  # fmt: skip
    if as_json:
        print_json(told)
        return
    _tell(told)


def _tell(told: dict[str, Any]) -> None:
    decided = ", ".join(f"{count} {what}" for what, count in told["decided"].items()) or "nothing"
    typer.echo(f"decided: {decided}; {told['open']} tasks open; "
               f"{told['files_written']} label files changed")  # fmt: skip
    for name, one in told["annotators"].items():
        fails = "; FAILED gold: not counted" if one["failed"] else ""
        typer.echo(f"{name}: {one['passed']} of {one['gold']} gold tasks passed{fails}")
    agreed = told["agreement"]
    if agreed["fleiss_kappa"] is not None:
        typer.echo(f"Fleiss' kappa {agreed['fleiss_kappa']:.3f} over {agreed['tasks']} tasks")
    for pair, kappa in agreed["cohen_kappa"].items():
        if kappa is not None:
            typer.echo(f"Cohen's kappa {kappa:.3f}: {pair}")
    for name, icc in agreed["icc"].items():
        low, high = (("?" if v is None else f"{v:.3f}") for v in (icc["low"], icc["high"]))
        typer.echo(f"ICC of {name} {icc['value']:.3f} ({low} to {high}), {agreed['boxes']} boxes")
    audits = told["audits"]
    typer.echo(f"audits: {audits['audited']} tracks, thresholds at level {audits['level']}, "
               f"evidence against it {audits['evidence']:.2f} of 20")  # fmt: skip
    for one in told["findings"]:
        cell = one["cell"]
        typer.echo(f"finding: {one['kind']} of {cell['class_name']} from {cell['from_m']:g} m on")
