"""`longtail`: one command, whose groups load their package only when used.

Guarantees: a failure is one clear line on standard error and a non-zero exit; `--json` puts
nothing but JSON on standard output; logs go to standard error.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import structlog
import typer

from contracts import SOFTWARE_VERSION
from contracts.errors import InputError, LongtailError

# group → (module, one line of help). The module has a typer app called `app`.
GROUPS: dict[str, tuple[str, str]] = {
    "agent": ("edge_agent.cli", "Run the on-vehicle agent and look at its state."),
    "cloud": ("cloud_ingest.cli", "Run the cloud service."),
    "fleet": ("cli.fleet", "Let vehicles into the fleet."),
    "spec": ("cli.spec", "Check trigger specs."),
    "clips": ("cli.clips", "Search, show and fetch clips."),
    "bench": ("bench.cli", "Measure against physical limits and peers."),
    "demo": ("cli.demo", "One drive from sensor to search, on this machine."),
}

# What a group's package needs that the vehicle's base install does not have.
EXTRAS = {"cloud": "cloud", "demo": "cloud,sim", "bench": "dev"}


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


def _group(name: str) -> typer.Typer:
    """Import a group's typer app. Raises `InputError` naming the extra that it lacks."""
    module, _ = GROUPS[name]
    try:
        loaded: typer.Typer = importlib.import_module(module).app
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(name)
        if extra is None or (error.name or "").split(".")[0] == module.split(".")[0]:
            raise
        raise InputError(
            f"needs the package {error.name}: pip install 'longtail[{extra}]'", f"longtail {name}"
        ) from error
    return loaded


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The command with the one group in full that `arguments` ask for, the rest as names."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_root)
    wanted = next((word for word in arguments if word in GROUPS), None)
    for name, (_, help_line) in GROUPS.items():
        group = _group(name) if name == wanted else typer.Typer()
        app.add_typer(group, name=name, help=help_line)
    return app


def main() -> None:
    """Entry point. Longtail's own errors end as one line and exit code 1."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"longtail {SOFTWARE_VERSION}")
        return
    try:
        build_app(arguments)(prog_name="longtail")
    except LongtailError as error:
        print(f"longtail: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
