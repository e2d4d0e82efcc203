"""Run one agent from a JSON configuration in argv[1]: the process that the kill tests kill."""

from __future__ import annotations

import json
import sys

import structlog

from edge_agent.app import run_agent
from edge_agent.config import AgentConfig


def main() -> None:
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    report = run_agent(AgentConfig.model_validate(json.loads(sys.argv[1])))
    sys.stdout.write(report.model_dump_json())


if __name__ == "__main__":
    main()
