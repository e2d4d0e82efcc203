"""`longtail loop ...`: from clips to what is labelled next, and from there to a model."""

from __future__ import annotations

import typer

from cli.loop_acquire import acquire
from cli.loop_dataset import app as dataset
from cli.loop_embed import embed
from cli.loop_gate import gate
from cli.loop_health import health
from cli.loop_lineage import lineage
from cli.loop_report import report
from cli.loop_retrain import retrain
from cli.loop_run import resume, run, status, watch
from cli.loop_sim_to_real import sim_to_real
from cli.loop_trace import trace
from cli.loop_verify import verify

app = typer.Typer(help="The loop from clips to models.", no_args_is_help=True)
for command in (run, status, resume, watch, report):
    app.command()(command)
app.command()(acquire)
app.command()(embed)
app.command()(gate)
app.command()(health)
app.command()(lineage)
app.command()(retrain)
app.command()(sim_to_real)
app.command()(trace)
app.command()(verify)
app.add_typer(dataset, name="dataset")


@app.callback()
def _group() -> None:
    """The loop from clips to models."""
