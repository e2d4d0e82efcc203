"""`longtail`: one command, whose groups load their package only when used.

Guarantees: a failure is one clear line on standard error and a non-zero exit; `--json` puts
nothing but JSON on standard output; logs go to standard error; a command that is told to end
(SIGTERM) takes down what it began, as on Ctrl-C.
"""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any

import structlog
import typer

from contracts import SOFTWARE_VERSION
from contracts.errors import LongtailError

# group → (module, one line of help). The module has a typer app called `app`.
GROUPS: dict[str, tuple[str, str]] = {
    "agent": ("edge_agent.cli", "Run the on-vehicle agent and look at its state."),
    "cloud": ("cloud_ingest.cli", "Run the cloud service."),
    "fleet": ("cli.fleet", "Let vehicles into the fleet, look at them, put them out."),
    "rollout": ("cli.rollout", "Bring releases to vehicles in stages."),
    "spec": ("cli.spec", "Check, test, backtest and compare trigger specs."),
    "model": ("cli.model", "Train, measure and export models, publish them for vehicles."),
    "label": ("cli.label", "Label by the future of each clip, and measure labels."),
    "loop": ("cli.loop", "Choose what to label next, and walk from clip to model."),
    "clips": ("cli.clips", "Search, show and fetch clips."),
    "bench": ("bench.cli", "Measure against physical limits and peers."),
    "sim": ("sim_fleet.cli", "Look at the simulated world and its scenarios."),
    "demo": ("cli.demo", "A fleet from sensor to search, on this machine."),
}

# What a group's package needs that the vehicle's base install does not have.
EXTRAS = {
    "cloud": "cloud", "sim": "sim", "demo": "cloud,sim", "bench": "dev", "model": "offline",
    "label": "offline", "loop": "offline",
}  # fmt: skip
OWN_PACKAGES = frozenset(module.split(".")[0] for module, _ in GROUPS.values())


def _root(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    log_json: Annotated[bool, typer.Option(help="Log as JSON lines.")] = False,
) -> None:
    """Longtail: from a moment on the road to a better model on the fleet."""
    level = logging.DEBUG if verbose else logging.INFO
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _group_asked_for(arguments: Sequence[str]) -> str | None:
    return next((word for word in arguments if word in GROUPS), None)


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The command with the one group in full that `arguments` ask for, the rest as names."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_root)
    wanted = _group_asked_for(arguments)
    for name, (module, help_line) in GROUPS.items():
        group = importlib.import_module(module).app if name == wanted else typer.Typer()
        app.add_typer(group, name=name, help=help_line)
    return app


def end_when_told() -> None:
    """From now on SIGTERM unwinds this process: an embedded database does not outlive it."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def main() -> None:
    """Entry point. Longtail's own errors, and places that cannot be used, end as one line and exit
    code 1; `--verbose` gives the traceback of the latter.
    """
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"longtail {SOFTWARE_VERSION}")
        return
    end_when_told()
    try:
        build_app(arguments)(prog_name="longtail")
    except LongtailError as error:
        print(f"longtail: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.filename is None or {"-v", "--verbose"} & set(arguments):
            raise
        print(f"longtail: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        # Packages load when used, so one that an extra brings may be missed late.
        extra = EXTRAS.get(_group_asked_for(arguments) or "")
        if extra is None or (error.name or "").split(".")[0] in OWN_PACKAGES:
            raise
        print(f"longtail: needs {error.name}: pip install 'longtail[{extra}]'", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
