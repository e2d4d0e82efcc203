"""The search language: it parses what it says, refuses the rest in place, means what SQL means."""

from __future__ import annotations

import datetime as dt
import operator
import re
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.query.columns import COLUMNS
from cloud_ingest.query.compile import compile_where
from cloud_ingest.query.parser import parse_query
from cloud_ingest.query.tree import (
    AnyOf,
    Between,
    Both,
    ColumnRef,
    Compare,
    Constant,
    Either,
    Expression,
    InList,
    IsNull,
    Like,
    Not,
    Operand,
    Query,
    Similarity,
    Truth,
)
from cloud_ingest.query.typing_rules import parse_time
from cloud_ingest.schema import clip_identity, clips
from contracts.errors import InputError

EXAMPLE = "weather = 'clear' AND 'car' = ANY(detected_objects) AND max_decel_mps2 > 2"


def test_the_example_parses() -> None:
    query = parse_query(EXAMPLE)
    assert query == Query(
        Both(
            Both(
                Compare("=", ColumnRef("weather", 1), Constant("clear", 11)),
                AnyOf(Constant("car", 23), ColumnRef("detected_objects", 35)),
            ),
            Compare(">", ColumnRef("max_decel_mps2", 57), Constant(2.0, 74)),
        )
    )


def test_order_and_limit() -> None:
    query = parse_query("order by min_ttc_s desc limit 5")
    assert query.where is None
    assert query.order is not None
    assert (query.order.column.name, query.order.descending, query.limit) == ("min_ttc_s", True, 5)
    assert parse_query("") == Query()


def test_likeness() -> None:
    query = parse_query("safety order by similarity to Sentence('it''s wet') limit 3")
    assert query == Query(
        Truth(ColumnRef("safety", 1)), Similarity("sentence", "it's wet", None, 40), 3
    )
    assert parse_query("ORDER BY SIMILARITY TO clip('3f2a', 'beef')").order == Similarity(
        "clip", "3f2a", "beef", 29
    )


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("wether = 'clear'", 1, "did you mean 'weather'"),
        ("weather = 3", 11, "weather is text"),
        ("max_decel_mps2 > 'fast'", 18, "a number"),
        ("safety > TRUE", 8, "has no >"),
        ("start_utc > 'yesterday'", 13, "a time"),
        ("weather = max_decel_mps2", 9, "weather is text"),
        ("'car' = detected_objects", 9, "ANY(column)"),
        ("'car' = ANY(weather)", 13, "not a list"),
        ("3 = ANY(causes)", 1, "holds texts"),
        ("'x' <> ANY(causes)", 5, "ANY is written"),
        ("1 = 1", 3, "must be a column"),
        ("weather = NULL", 11, "IS NULL"),
        ("weather =", 10, "the end"),
        ("weather 'clear'", 1, "expected a comparison"),
        ("(weather = 'a'", 15, "expected )"),
        ("weather = 'a' 'b'", 15, "expected AND"),
        ('weather = "clear"', 11, "single quotes"),
        ("weather = 'clear", 11, "closing quote"),
        ("weather; DROP TABLE clips", 8, "';' has no meaning"),
        ("weather LIKE 'a\\'", 14, "backslash"),
        ("max_decel_mps2 LIKE '3%'", 21, "LIKE compares"),
        ("max_decel_mps2 > 1e999", 18, "finite"),
        ("LIMIT 1.5", 7, "whole number"),
        ("ORDER BY causes", 10, "no order"),
        ("weather NOT 'a'", 13, "expected IN"),
        ("manifest = 'x'", 1, "no column"),
        ("and = 1", 1, "expected a column"),
        ("(" * 60 + "safety" + ")" * 60, 51, "nested"),
    ],
)
def test_errors_name_the_place_and_what_would_be_right(text: str, column: int, words: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_query(text)
    assert words in raised.value.message
    assert raised.value.place == f"where, column {column}"


_FRAGMENTS = st.sampled_from(
    [*COLUMNS, "AND", "OR", "NOT", "(", ")", "=", "<", "<>", ">=", "IN", "BETWEEN", "LIKE", "IS",
     "NULL", "ANY", "TRUE", "ORDER", "BY", "LIMIT", "DESC", "ORDER BY SIMILARITY TO",
     "SENTENCE", "CLIP", "'car'", "'2026-01-01'", "3", "-1.5e3",
     ",", "'", "\"", "\0", "é", ";", "--", "1e400", "0001-01-01"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(_FRAGMENTS, max_size=30).map(" ".join)))
def test_any_text_parses_or_is_an_input_error(text: str) -> None:
    try:
        query = parse_query(text)
    except InputError as error:
        assert error.place is not None
        return
    if query.where is not None:
        compile_where(query.where).compile()


# ---------------------------------------------------------------- agreement with Python

_TEXTS = st.sampled_from(["clear", "rain", "Rain", "a%b", "a_b", "é", "", "it's", "x\\y", "aXb"])
_NUMBERS = st.sampled_from([-1.5, 0.0, 1.0, 2.0, 2.5, 1e300])
_TIMES = st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-06-01T12:00:00+00:00"])
_COLUMNS = {
    "weather": _TEXTS,
    "tod": _TEXTS,
    "max_decel_mps2": _NUMBERS,
    "min_ttc_s": _NUMBERS,
    "image_frames": st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
    "start_utc": _TIMES,
}

_ROWS: list[dict[str, Any]] = [
    {
        "weather": weather,
        "tod": tod,
        "max_decel_mps2": decel,
        "min_ttc_s": ttc,
        "image_frames": frames,
        "start_utc": None if time is None else dt.datetime.fromisoformat(time),
        "safety": safety,
        "detected_objects": objects,
    }
    for weather, tod, decel, ttc, frames, time, safety, objects in [
        ("clear", "day", 2.0, None, 2, "2026-01-01T00:00:00+00:00", True, ["car", "it's"]),
        ("rain", None, 2.5, 1.0, 0, "2026-06-01T12:00:00+00:00", False, []),
        ("Rain", "rain", -1.5, 2.0, 1, None, False, ["car"]),
        (None, "clear", None, 0.0, None, "2026-01-01T00:00:00+00:00", True, ["bus"]),
        ("a%b", "aXb", 1e300, 1e300, 1, "2026-06-01T12:00:00+00:00", False, ["é", ""]),
        ("a_b", "é", 0.0, 2.0, 2, None, True, ["car", "bus"]),
        ("x\\y", "", 1.0, 1.0, 0, None, False, ["clear"]),
    ]
]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _written(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


@st.composite
def predicates(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from(list(_COLUMNS)))
    value = _COLUMNS[column].map(_written)
    negation = draw(st.sampled_from(["", "NOT "]))
    match draw(st.integers(0, 8)):
        case 0 | 1:
            op = draw(st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="]))
            sides = [column, draw(value)]
            if draw(st.booleans()):
                sides.reverse()
            return f"{sides[0]} {op} {sides[1]}"
        case 2:
            values = ", ".join(draw(st.lists(value, min_size=1, max_size=3)))
            return f"{column} {negation}IN ({values})"
        case 3:
            return f"{column} {negation}BETWEEN {draw(value)} AND {draw(value)}"
        case 4:
            pattern = draw(st.sampled_from(["%", "r%", "_ain", "a\\%b", "a_b", "%\\\\%", "", "é"]))
            return f"{draw(st.sampled_from(['weather', 'tod']))} {negation}LIKE {_quoted(pattern)}"
        case 5:
            return f"{column} IS {negation}NULL"
        case 6:
            return (
                f"{_quoted(draw(st.sampled_from(['car', 'bus', '', 'é'])))} = ANY(detected_objects)"
            )
        case 7:
            op = draw(st.sampled_from(["=", "<>", "<", ">="]))
            pair = draw(st.sampled_from([("weather", "tod"), ("max_decel_mps2", "image_frames")]))
            return f"{pair[0]} {op} {pair[1]}"
        case _:
            return draw(st.sampled_from(["safety", "safety = FALSE", "safety <> true"]))


searches = st.recursive(
    predicates(),
    lambda inner: st.one_of(
        inner.map(lambda text: f"NOT ({text})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} AND {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} OR {pair[1]})"),
    ),
    max_leaves=5,
)

_OPS = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _value(operand: Operand, column: ColumnRef, row: dict[str, Any]) -> Any:
    if isinstance(operand, ColumnRef):
        value = row[operand.name]
        return value.encode() if isinstance(value, str) else value
    if COLUMNS[column.name] == "time":
        return parse_time(str(operand.value))
    return operand.value.encode() if isinstance(operand.value, str) else operand.value


def _like(pattern: str) -> re.Pattern[str]:
    out, at = "", 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            at += 1
            out += re.escape(pattern[at])
        else:
            out += {"%": ".*", "_": "."}.get(letter, re.escape(letter))
        at += 1
    return re.compile(out, re.DOTALL)


def evaluate(expression: Expression, row: dict[str, Any]) -> bool | None:
    """SQL's three-valued meaning, written independently of SQLAlchemy."""
    match expression:
        case Compare(op, left, right):
            column = left if isinstance(left, ColumnRef) else right
            assert isinstance(column, ColumnRef)
            sides = [_value(side, column, row) for side in (left, right)]
            return None if None in sides else bool(_OPS[op](*sides))
        case AnyOf(value, array):
            return value.value in row[array.name]
        case InList(column, values):
            found = _value(column, column, row)
            return None if found is None else found in [_value(v, column, row) for v in values]
        case Between(column, low, high):
            found = _value(column, column, row)
            if found is None:
                return None
            return bool(_value(low, column, row) <= found <= _value(high, column, row))
        case Like(column, pattern):
            text = row[column.name]
            return None if text is None else bool(_like(str(pattern.value)).fullmatch(text))
        case IsNull(column):
            return row[column.name] is None
        case Truth(column):
            return bool(row[column.name])
        case Not(child):
            truth = evaluate(child, row)
            return None if truth is None else not truth
        case Both(one, other):
            pair = {evaluate(one, row), evaluate(other, row)}
            return False if False in pair else None if None in pair else True
        case Either(one, other):
            pair = {evaluate(one, row), evaluate(other, row)}
            return True if True in pair else None if None in pair else False


@pytest.fixture
def filled(database_url: str, tables: sa.Engine) -> sa.Engine:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with tables.begin() as connection:
        for index, row in enumerate(_ROWS):
            own = {"clip_id": f"{index:064x}", "size_bytes": 1, "received_utc": now}
            connection.execute(sa.insert(clip_identity).values(own))
            rest = {"vehicle_id": "car-1", "state": "ready"}
            connection.execute(sa.insert(clips).values(own | rest | row))
    return tables


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=searches)
def test_a_search_means_what_sql_means(filled: sa.Engine, text: str) -> None:
    where = parse_query(text).where
    assert where is not None
    expected = [f"{index:064x}" for index, row in enumerate(_ROWS) if evaluate(where, row)]
    statement = sa.select(clips.c.clip_id).where(compile_where(where)).order_by(clips.c.clip_id)
    with filled.connect() as connection:
        assert list(connection.execute(statement).scalars()) == expected
