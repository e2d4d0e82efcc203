"""A parsed search: what it asks, as values. Positions are 1-based columns of the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CompareOp = Literal["=", "<>", "<", "<=", ">", ">="]
TargetKind = Literal["clip", "picture", "sentence"]


@dataclass(frozen=True, slots=True)
class ColumnRef:
    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Constant:
    value: str | float | bool
    position: int


Operand = ColumnRef | Constant


@dataclass(frozen=True, slots=True)
class Compare:
    op: CompareOp
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`value = ANY(array)`."""

    value: Constant
    array: ColumnRef


@dataclass(frozen=True, slots=True)
class InList:
    column: ColumnRef
    values: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class Between:
    column: ColumnRef
    low: Constant
    high: Constant


@dataclass(frozen=True, slots=True)
class Like:
    column: ColumnRef
    pattern: Constant


@dataclass(frozen=True, slots=True)
class IsNull:
    column: ColumnRef


@dataclass(frozen=True, slots=True)
class Truth:
    """A boolean column by itself."""

    column: ColumnRef


@dataclass(frozen=True, slots=True)
class Not:
    child: Expression


@dataclass(frozen=True, slots=True)
class Both:
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Either:
    left: Expression
    right: Expression


Expression = Compare | AnyOf | InList | Between | Like | IsNull | Truth | Not | Both | Either


@dataclass(frozen=True, slots=True)
class Order:
    column: ColumnRef
    descending: bool


@dataclass(frozen=True, slots=True)
class Similarity:
    """`similarity TO kind('text' [, 'space'])`: the likest first."""

    kind: TargetKind
    text: str
    space: str | None
    position: int


@dataclass(frozen=True, slots=True)
class Query:
    where: Expression | None = None
    order: Order | Similarity | None = None
    limit: int | None = None
