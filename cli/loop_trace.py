"""`longtail loop trace`: a gate report as a graph of claims, arguments and evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import JsonOption, absolute
from contracts.errors import InputError

if TYPE_CHECKING:
    from contracts.gate_report import GateReport
    from offline.datasets.lineage import Lineage

_SUFFIXES = (".json", ".csv", ".html")


def trace(
    report: Annotated[
        Path, typer.Option("--report", exists=True, dir_okay=False, help="Gate report, JSON.")
    ],
    out: Annotated[
        list[Path],
        typer.Option("--out", dir_okay=False, help=".json, .csv or .html; may be repeated."),
    ] = [],  # noqa: B006
    suite: Annotated[
        Path | None, typer.Option(exists=True, help="Frozen suite: its file, or its folder.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--lineage", exists=True, file_okay=False, help="A datasets' store."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", exists=True, dir_okay=False, help="The candidate's."),
    ] = None,
    loop: Annotated[
        Path | None,
        typer.Option("--loop", exists=True, file_okay=False, help="A loop's folder: its lineage."),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of the report's evidence."),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Requirement → scenario → claim and verdict → evidence → model → what it comes from.

    Every claim of the report is there once. What is named and not there fails the command; what
    cannot be shown is told as a gap.
    """
    from contracts.scenario_suite import read_suite
    from offline.runs.files import write_durably
    from offline.traceability.build import trace_of
    from offline.traceability.evidence import read_evidence
    from offline.traceability.tables import csv_text, page_text

    for path in out:
        if path.suffix not in _SUFFIXES:
            raise InputError(f"is none of {', '.join(_SUFFIXES)}", str(path))
    found = trace_of(
        _read_report(report), None if suite is None else read_suite(suite),
        _lineage(store, manifest, loop), None if evidence is None else read_evidence(evidence),
    )  # fmt: skip
    text = found.model_dump_json(indent=1) + "\n"
    for path in out:
        content = {".json": lambda: text, ".csv": lambda: csv_text(found)}.get(
            path.suffix, lambda: page_text(found)
        )()
        write_durably(path, content.encode())
    if as_json:
        typer.echo(text, nl=False)
        return
    claims = found.of_kind("claim")
    typer.echo(
        f"{len(claims)} claims, {sum(claim.state == 'pass' for claim in claims)} hold;"
        f" {len(found.of_kind('requirement'))} requirements, {len(found.of_kind('scenario'))}"
        f" scenarios, {len(found.of_kind('evidence'))} pieces of evidence"
    )
    for gap in found.gaps:
        typer.echo(f"gap: {gap}")
    for path in out:
        typer.echo(f"written: {absolute(path)}")


def _read_report(path: Path) -> GateReport:
    from pydantic import ValidationError

    from contracts.gate_report import GateReport

    try:
        return GateReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], f"{path}: {where}" if where else str(path)) from error


def _lineage(store: Path | None, manifest: Path | None, loop: Path | None) -> Lineage | None:
    from contracts.model_manifest import ModelManifest
    from contracts.spec_yaml import parse_yaml, read_text, validate_located
    from offline.datasets.lineage import lineage_of
    from offline.datasets.store import DatasetStore
    from offline.pipeline.lineage import loop_lineage
    from offline.pipeline.turn import LoopFolder

    if loop is not None:
        if store is not None or manifest is not None:
            raise InputError("either a loop's lineage, or a store's and a manifest's", "--loop")
        return loop_lineage(LoopFolder(loop))
    if store is None or manifest is None:
        if store is not manifest:
            raise InputError("--lineage and --manifest come together")
        return None
    held = validate_located(ModelManifest, parse_yaml(read_text(manifest), str(manifest)))
    return lineage_of(DatasetStore(store), [(held.sha256, held)])
