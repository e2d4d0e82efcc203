"""`longtail bench`: run one benchmark, or all and write the page of them.

Figures go to stdout: a table, or with `--json` one JSON object a benchmark and line. Notes go
to stderr. A goal that does not hold is reported, not an error: the exit code is 1 only when a
benchmark could not run.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.figures import Figure, machine, report
from bench.table import markdown, rich_table
from contracts.errors import LongtailError

_PIPED_WIDTH = 200
RECORDED = Path("..") / "shared" / "data"

app = typer.Typer(help="Measure this machine against physical limits and peers.")


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark: a module with `run`, imported when it is asked for.

    `uses_recorded`: `run` takes the folder of recorded drives, or None; `uses_data`: it takes
    folders of labelled drives, or none; `seeds`: it is run on so many unless told otherwise. A
    `long` one takes the better part of an hour or more: `all` leaves it out.
    """

    module: str
    summary: str
    uses_recorded: bool = False
    uses_data: bool = False
    long: bool = False
    seeds: int | None = None

    def about(self) -> str:
        """What it measures against what: its module's docstring as one paragraph each."""
        text = inspect.getdoc(importlib.import_module(self.module)) or ""
        return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))

    def run(
        self, recorded: Path | None, data: Sequence[Path] = (), seeds: int | None = None
    ) -> list[Figure]:
        run: Callable[..., list[Figure]] = importlib.import_module(self.module).run
        if self.seeds is not None:
            return run(data, self.seeds if seeds is None else seeds)
        if self.uses_data:
            return run(data)
        return run(recorded) if self.uses_recorded else run()


BENCHES = {
    "triggers": Bench("bench.triggers", "Trigger evaluation a tick."),
    "trigger-quality": Bench(
        "bench.trigger_quality", "Precision and recall of each trigger kind.", True, long=True
    ),
    "target-rates": Bench(
        "bench.target_rates", "Thresholds on their rates, known scenes suppressed.", long=True
    ),
    "rules": Bench("bench.rules", "Rules a tick, against CEL, Python and numpy."),
    "hotpath": Bench("bench.hotpath", "The agent's hot path, stage by stage.", True),
    "full-rate": Bench(
        "bench.full_rate", "The whole agent at full sensor rate, at wall speed.", long=True
    ),
    "ring": Bench("bench.ring", "The ring's pushes and windows, against memcpy."),
    "image": Bench("bench.image", "Images into a tensor, and into a clip."),
    "signals": Bench("bench.signals", "The signal log: size and speed.", True),
    "pack": Bench("bench.pack", "A clip packed from the ring."),
    "lidar-codec": Bench("bench.lidar_codec", "Lidar codec: size, speed, error.", True),
    "phash": Bench("bench.phash", "Perceptual hash and scan.", True),
    "upload": Bench("bench.upload", "The upload client."),
    "uplink": Bench(
        "bench.uplink",
        "A clip's spans over an emulated long link, against one connection.",
        long=True,
    ),
    "receiver": Bench(
        "bench.receiver", "The upload receiver, against raw writes, nginx, @tus/server.", long=True
    ),
    "spool": Bench("bench.spool", "The spool's writes, against O_DIRECT."),
    "mining": Bench(
        "bench.mining", "Searches by likeness over a million clips, any selectivity.", long=True
    ),
    "mining-sentences": Bench(
        "bench.mining_sentences", "Searches by sentence: rank of the described clip.", long=True
    ),
    "ota": Bench("bench.ota", "Update checks of 10,000 vehicles."),
    "student": Bench(
        "bench.student", "The student's time on one core, and its accuracy.", uses_data=True
    ),
    "sim": Bench("bench.sim", "The simulator's ray caster, cameras and vehicles."),
    "acquisition": Bench("bench.acquisition", "Coverage and uncertainty of what to label."),
    "acquisition-study": Bench(
        "bench.acquisition_study",
        "What choosing saves, on paired seeds.",
        uses_data=True,
        long=True,
    ),
    "forgetting": Bench(
        "bench.forgetting",
        "What a student keeps while it learns something else.",
        uses_data=True,
        long=True,
    ),
    "loop": Bench(
        "bench.loop",
        "Turns of the loop on fixed seeds: errors, disengagements, what is kept.",
        uses_data=True,
        long=True,
        seeds=5,
    ),
    "label": Bench("bench.label", "The auto-labeller against a causal tracker.", True),
    "router": Bench("bench.router", "The QA router: cost, residual error, audits.", True),
    "label-sim": Bench(
        "bench.label_sim", "Labels of simulated clips, against exact truth.", uses_data=True
    ),
    "gates": Bench(
        "bench.gates", "The gates against injected regressions and improvements.", uses_data=True
    ),
    "label-points": Bench("bench.label_points", "What poses and points add to labels.", True),
}

RecordedOption = Annotated[
    Path | None,
    typer.Option(
        exists=True, file_okay=False,
        help=f"Folder of recorded drives; {RECORDED} where that exists.",
    ),
]  # fmt: skip
DataOption = Annotated[
    list[Path],
    typer.Option(
        exists=True, file_okay=False,
        help="Folder of labelled drives to measure on, not the shipped report's; for the study,"
        " where its drives and loops are kept.",
    ),
]  # fmt: skip
SeedsOption = Annotated[int, typer.Option(min=2, max=100, help="How many seeds.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
WriteOption = Annotated[
    Path | None, typer.Option("--write", dir_okay=False, help="Write a Markdown page here.")
]


def _register(name: str, bench: Bench) -> None:
    if bench.seeds is not None:
        usual = bench.seeds

        @app.command(name, help=bench.summary)
        def seeded(
            data: DataOption = [],  # noqa: B006
            seeds: SeedsOption = usual,
            as_json: JsonOption = False,
        ) -> None:
            if _figures(name, None, as_json, data, seeds) is None:
                raise typer.Exit(1)

        return

    if bench.uses_data:

        @app.command(name, help=bench.summary)
        def measured(data: DataOption = [], as_json: JsonOption = False) -> None:  # noqa: B006
            if _figures(name, None, as_json, data) is None:
                raise typer.Exit(1)

        return

    @app.command(name, help=bench.summary)
    def one(recorded: RecordedOption = None, as_json: JsonOption = False) -> None:
        folder = _recorded_folder(recorded) if bench.uses_recorded else None
        if _figures(name, folder, as_json) is None:
            raise typer.Exit(1)


for _name, _bench in BENCHES.items():
    _register(_name, _bench)


@app.command("all", help="Every benchmark but the long ones, one after the other.")
def run_all(
    recorded: RecordedOption = None, as_json: JsonOption = False, write: WriteOption = None
) -> None:
    """Runs what can run; nothing is written unless all could."""
    folder = _recorded_folder(recorded)
    found = {name: _figures(name, folder, as_json) for name in BENCHES if not BENCHES[name].long}
    ran = {name: figures for name, figures in found.items() if figures is not None}
    if len(ran) < len(found):
        raise typer.Exit(1)
    if write is not None:
        sections = [(name, BENCHES[name].about(), figures) for name, figures in ran.items()]
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(markdown(machine(), sections), encoding="utf-8")
        typer.echo(f"written: {write}", err=True)


def _figures(
    name: str, recorded: Path | None, as_json: bool, data: Sequence[Path] = (),
    seeds: int | None = None,
) -> list[Figure] | None:  # fmt: skip
    """Run and show one benchmark; None, with the reason on stderr, when it could not run."""
    try:
        figures = BENCHES[name].run(recorded, data, seeds)
    except ModuleNotFoundError as error:
        hint = "the peers come with longtail[dev]"
        typer.echo(f"{name} could not run: {error.name} is not installed; {hint}", err=True)
        return None
    except (LongtailError, OSError) as error:
        typer.echo(f"{name} could not run: {error}", err=True)
        return None
    if as_json:
        typer.echo(json.dumps(report(name, figures), ensure_ascii=False))
    else:
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        Console(width=width).print(rich_table(name, figures))
    return figures


def _recorded_folder(given: Path | None) -> Path | None:
    if given is not None:
        return given
    if RECORDED.is_dir():
        return RECORDED
    typer.echo(f"no recorded drives at {RECORDED}: their figures are left out", err=True)
    return None
