"""From a parsed search to SQLAlchemy: values are bound, names come from the schema.

Text has the order of its bytes (collation C), so that pages are stable on any server.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cloud_ingest.query.columns import kind_of
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
    Truth,
)
from cloud_ingest.query.typing_rules import parse_time
from cloud_ingest.schema import clips

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def column_of(name: str) -> sa.ColumnElement[Any]:
    """A column as comparisons and orders use it."""
    column = clips.c[name]
    if isinstance(column.type, sa.Text):
        return sa.collate(column, "C")
    if isinstance(column.type, sa.BigInteger):
        return sa.cast(column, sa.Double)
    return column


def _value(constant: Constant, column: ColumnRef) -> sa.ColumnElement[Any]:
    match kind_of(column), constant.value:
        case "time", str(text):
            return sa.literal(parse_time(text), sa.DateTime(timezone=True))
        case "number", value:
            return sa.literal(value, sa.Double)
        case "boolean", value:
            return sa.literal(value, sa.Boolean)
        case _, value:
            return sa.literal(value, sa.Text)


def _side(operand: Operand, other: Operand) -> sa.ColumnElement[Any]:
    if isinstance(operand, ColumnRef):
        return column_of(operand.name)
    if isinstance(other, ColumnRef):
        return _value(operand, other)
    raise TypeError("the parser lets no comparison of two constants pass")


def compile_where(expression: Expression) -> sa.ColumnElement[bool]:
    """The condition of a `SELECT` over the clips."""
    match expression:
        case Compare(op, left, right):
            return sa.type_coerce(
                _OPERATORS[op](_side(left, right), _side(right, left)), sa.Boolean
            )
        case AnyOf(value, array):
            return clips.c[array.name].contains([value.value])
        case InList(column, values):
            return column_of(column.name).in_([_value(value, column) for value in values])
        case Between(column, low, high):
            return column_of(column.name).between(_value(low, column), _value(high, column))
        case Like(column, pattern):
            return column_of(column.name).like(sa.literal(pattern.value, sa.Text))
        case IsNull(column):
            return clips.c[column.name].is_(None)
        case Truth(column):
            return clips.c[column.name] == sa.true()
        case Not(child):
            return sa.not_(compile_where(child))
        case Both(left_child, right_child):
            return sa.and_(compile_where(left_child), compile_where(right_child))
        case Either(left_child, right_child):
            return sa.or_(compile_where(left_child), compile_where(right_child))
