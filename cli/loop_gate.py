"""`longtail loop gate`: whether a candidate may replace the model that the fleet runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import JsonOption, absolute, print_json, progress_line

if TYPE_CHECKING:
    from contracts.gate_report import GateReport
    from offline.gates.model_file import ModelFile


def gate(
    candidate: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Its manifest; the ONNX is beside it.")
    ],
    reference: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="The best model ever, by manifest.")
    ],
    suite: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="As `longtail sim suite` wrote it.")
    ],
    tails: Annotated[
        list[Path], typer.Option(exists=True, file_okay=False, help="Hard drives; repeated.")
    ],
    random: Annotated[
        list[Path],
        typer.Option(exists=True, file_okay=False, help="Drives of the random stream; repeated."),
    ],
    out: Annotated[Path, typer.Option("--out", dir_okay=False, help="Report to write, JSON.")],
    probabilities: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False,
            help="With which probability each drive was drawn, JSON or CSV; else as its clip says.",
        ),
    ] = None,
    shadow: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False,
            help="What vehicles counted of the candidate in shadow; without it that gate waits.",
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Other rules; YAML.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Sign the report: private key, PEM."),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Ask all gates in order; the first that fails stops the rest. Exits 1 unless all pass.

    Writes the report, a page for people beside it (.md), what it was judged on (.evidence/, by
    digest) and, with a key, a signed envelope (.dsse.json).
    """
    from contracts.scenario_suite import read_suite
    from offline.gates.drives import hard_drives, random_drives
    from offline.gates.judge import Subjects, judge
    from offline.gates.model_file import read_model
    from offline.gates.policy import PUBLISHED, read_policy
    from offline.gates.source import FolderEvidence
    from offline.traceability.evidence import KeptEvidence

    rules, frozen = read_policy(policy or PUBLISHED), read_suite(suite)
    ours, theirs = read_model(candidate), read_model(reference)
    evidence = FolderEvidence(
        ours, theirs, frozen, suite, hard_drives(tails), random_drives(random, probabilities),
        rules, opens_on_a_vehicle, shadow,
        lambda name, done, of: progress_line(f"{name}: {done} of {of}"),
    )  # fmt: skip
    subjects = Subjects(
        candidate=ours.manifest.sha256, candidate_name=ours.name,
        reference=theirs.manifest.sha256, reference_name=theirs.name,
        suite=rules.suite or frozen.digest,
    )  # fmt: skip
    report = judge(
        subjects, KeptEvidence(evidence, out.with_suffix(".evidence")), rules,
        lambda outcome: typer.echo(f"\r\033[K{outcome.gate}: {outcome.verdict}", err=True),
    )  # fmt: skip
    written = _write(report, out, key)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _tell(report, written)
    if not report.passes:
        raise typer.Exit(1)


def opens_on_a_vehicle(model: ModelFile) -> None:
    """As the agent opens it: digest, tensors, self-test."""
    from contracts.errors import CorruptError
    from edge_agent.perception.runtime import open_model

    if model.sha256 != model.manifest.sha256:
        raise CorruptError("the file is not the manifest's", str(model.path))
    open_model(model.manifest, model.content, str(model.path))


def _write(report: GateReport, out: Path, key: Path | None) -> list[Path]:
    from client.signing import load_key
    from offline.gates.page import page_text
    from offline.gates.signing import signed_report
    from offline.runs.files import write_durably

    files = {
        out: (report.model_dump_json(indent=1) + "\n").encode(),
        out.with_suffix(".md"): page_text(report).encode(),
    }
    if key is not None:
        files[out.with_suffix(".dsse.json")] = signed_report(report, [load_key(key)])
    for path, content in files.items():
        write_durably(path, content)
    return list(files)


def _tell(report: GateReport, written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    from offline.gates.page import gate_rows, verdict

    table = Table("gate", "verdict", "claims", box=None)
    for name, found, told in gate_rows(report):
        table.add_row(name, found, told, style="red" if found == "fail" else None)
    console = Console()
    console.print(table)
    for claim in report.failures():
        typer.echo(f"{claim.name}: {claim.told} ({claim.requirement})")
    typer.echo(verdict(report))
    for path in written:
        typer.echo(f"written: {absolute(path)}")
