"""What people write: specs, rules, searches; and cursors that they send back."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from contracts.expression import parse_expression
from contracts.trigger_spec import parse_spec
from tests.fuzz.target import Target, text_of


@cache
def specs() -> tuple[bytes, ...]:
    folder = Path(__file__).parents[2] / "trigger_specs"
    return tuple(path.read_bytes() for path in sorted(folder.glob("*.yaml")))


QUERY_WORDS = (
    "AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL", "ORDER BY", "LIMIT", "DESC", "(",
    ")", "'x'", "1e9", "start_time", "safety", "weather", "max_decel_mps2", "ANY", "triggers", "=",
    "<>",
)  # fmt: skip
QUERIES = (
    b"weather = 'rain' AND max_decel_mps2 > 4",
    b"safety AND NOT (tod IN ('night', 'dusk')) OR min_ttc_s BETWEEN 0.1 AND 2.5",
    b"weather LIKE 'ra%' AND lat_deg IS NOT NULL",
)
EXPRESSION_WORDS = (
    "and", "or", "not", "(", ")", "ego.speed_mps", "abs", "min", "max", "<", "<=", "==", "1e9",
    "if", "lambda", "autonomy.engaged", "+", "**", "//", "[", "]", ".", "__class__",
)  # fmt: skip
EXPRESSIONS = (
    b"ego.speed_mps > 5 and not autonomy.engaged",
    b"abs(ego.accel_mps2) > 2 or (lead.ttc_s < 1.5 and ego.speed_mps >= 3)",
)
SPEC_WORDS = (
    "apiVersion", "kind", "hard_brake", "when", "expression", "for", "cooldown", "capture", "pre",
    "5s", "9GB", "{", "}", "[", "]", ":", "- ", "\n", "\n  ", "&a", "*a", "<<", "!!", "%", "|", ">",
)  # fmt: skip


def run_query(content: bytes) -> None:
    from cloud_ingest.query.compile import compile_where
    from cloud_ingest.query.parser import parse_query

    found = parse_query(text_of(content))
    if found.where is not None:
        str(compile_where(found.where))


TIME_COLUMN = "start_utc"


def run_cursor(content: bytes) -> None:
    import base64

    from cloud_ingest.query.pages import parse_cursor

    if not content.startswith(b"["):
        parse_cursor(text_of(content), "s", TIME_COLUMN)
    parse_cursor(base64.urlsafe_b64encode(content).decode().rstrip("="), "s", TIME_COLUMN)


def run_log_cursor(content: bytes) -> None:
    import base64

    from cloud_ingest.signal_logs import _read_cursor

    _read_cursor(base64.urlsafe_b64encode(content).decode())


TARGETS = (
    Target("trigger-spec", specs, lambda c: parse_spec(text_of(c), "s"), words=SPEC_WORDS),
    Target("expression", lambda: EXPRESSIONS, lambda c: parse_expression(text_of(c)),
           words=EXPRESSION_WORDS),
    Target("query", lambda: QUERIES, run_query, words=QUERY_WORDS),
    Target("cursor", lambda: [b'["s", "2026-01-01T00:00:00Z", "c", 5]'], run_cursor,
           is_json=True),
    Target("log-cursor", lambda: [b'[5, "abc"]'], run_log_cursor, is_json=True),
)  # fmt: skip
