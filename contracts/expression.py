"""The rule language of `expression` triggers: parse, check names, check units.

A rule is one boolean expression over the signal catalogue in Python's own syntax, reduced to
what a vehicle can evaluate in a microsecond: numbers, signals, `+ - * /`, comparisons
(chained ones too), `and or not`, `abs min max`. Nothing else parses, so nothing else runs:
the tree is data, never Python that executes.

A comparison that reads an absent signal is unknown, neither true nor false, and unknown goes
through `and or not` as in Kleene's three-valued logic: a rule never fires on what the vehicle
did not measure, not even behind a `not`.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import Literal

from contracts.errors import InputError
from contracts.signals import CATALOGUE, SIGNAL_INDEX, nearest_name

MAX_NODES = 200
MAX_TEXT = 2000

Op = Literal[
    "const", "signal", "neg", "add", "sub", "mul", "div", "abs", "min", "max",
    "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not",
]  # fmt: skip

_BINARY: dict[type[ast.operator], Op] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Op] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip
_CALLS: dict[str, Op] = {"abs": "abs", "min": "min", "max": "max"}

_ANY = "*"  # the unit of a bare number: it takes on its neighbour's
_TRUTH = "truth"


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a rule: an operation over its children, a constant or a signal's row."""

    op: Op
    children: tuple[Node, ...] = ()
    value: float = 0.0
    signal: int = -1


class _Checker:
    """Turns Python's tree into ours, carrying each node's unit."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0

    def fail(self, node: ast.AST, message: str) -> InputError:
        offset = getattr(node, "col_offset", 0)
        return ExpressionError(message, offset)

    def build(self, node: ast.expr) -> tuple[Node, str]:
        self._count += 1
        if self._count > MAX_NODES:
            raise self.fail(node, f"more than {MAX_NODES} terms")
        match node:
            case ast.Constant(value=bool() as value):
                return Node("const", value=float(value)), "bool"
            case ast.Constant(value=int() | float() as value):
                try:
                    number = float(value)
                except OverflowError:
                    number = math.inf
                if not math.isfinite(number):
                    raise self.fail(node, f"{self._source(node)} is not a finite number")
                return Node("const", value=number), _ANY
            case ast.Name() | ast.Attribute():
                return self._signal(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                child, unit = self._number(operand)
                return Node("neg", (child,)), unit
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Node("not", (self._truth(operand),)), _TRUTH
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
                return self._arithmetic(node, _BINARY[type(operator)], left, right)
            case ast.BoolOp(op=operator, values=values):
                op: Op = "and" if isinstance(operator, ast.And) else "or"
                return self._fold(op, [self._truth(value) for value in values]), _TRUTH
            case ast.Compare():
                return self._comparison(node), _TRUTH
            case ast.Call():
                return self._call(node)
        raise self.fail(node, f"{self._source(node)!r} is not allowed in a rule")

    def _source(self, node: ast.AST) -> str:
        return (ast.get_source_segment(self._text, node) or type(node).__name__)[:60]

    def _signal(self, node: ast.Name | ast.Attribute) -> tuple[Node, str]:
        name = ast.unparse(node)
        index = SIGNAL_INDEX.get(name)
        if index is None:
            raise self.fail(node, f"no signal is called {name!r}{nearest_name(name, SIGNAL_INDEX)}")
        return Node("signal", signal=index), CATALOGUE[index].unit

    def _number(self, node: ast.expr) -> tuple[Node, str]:
        built, unit = self.build(node)
        if unit == _TRUTH:
            raise self.fail(node, f"{self._source(node)!r} is true or false; a number is needed")
        return built, unit

    def _truth(self, node: ast.expr) -> Node:
        built, unit = self.build(node)
        if unit == "bool":
            return Node("ne", (built, Node("const")))
        if unit != _TRUTH:
            raise self.fail(
                node, f"{self._source(node)!r} is a number; compare it with something first"
            )
        return built

    def _same_unit(self, node: ast.AST, left: str, right: str, verb: str) -> str:
        if _ANY in (left, right):
            return right if left == _ANY else left
        if left != right:
            raise self.fail(
                node, f"cannot {verb} {left or 'a plain number'} with {right or 'a plain number'}"
            )
        return left

    def _arithmetic(
        self, node: ast.BinOp, op: Op, left: ast.expr, right: ast.expr
    ) -> tuple[Node, str]:
        a, unit_a = self._number(left)
        b, unit_b = self._number(right)
        if op in ("add", "sub"):
            unit = self._same_unit(node, unit_a, unit_b, "add" if op == "add" else "subtract")
        elif op == "div" and unit_a == unit_b:
            unit = _ANY if unit_a == _ANY else ""
        elif unit_b in (_ANY, ""):
            unit = unit_a
        elif op == "mul" and unit_a in (_ANY, ""):
            unit = unit_b
        else:
            # A product of two units is a unit we do not name: it may meet only a number.
            unit = f"({unit_a or 1}){'*' if op == 'mul' else '/'}({unit_b})"
        return Node(op, (a, b)), unit

    def _comparison(self, node: ast.Compare) -> Node:
        terms = [self._number(term) for term in (node.left, *node.comparators)]
        sources = (node.left, *node.comparators)
        steps = []
        for i, operator in enumerate(node.ops):
            if type(operator) not in _COMPARE:
                raise self.fail(node, "only < <= > >= == != compare")
            (a, unit_a), (b, unit_b) = terms[i], terms[i + 1]
            self._same_unit(sources[i], unit_a, unit_b, "compare")
            steps.append(Node(_COMPARE[type(operator)], (a, b)))
        return self._fold("and", steps)

    def _call(self, node: ast.Call) -> tuple[Node, str]:
        name = node.func.id if isinstance(node.func, ast.Name) else self._source(node.func)
        op = _CALLS.get(name)
        if op is None:
            raise self.fail(node, f"no function {name!r}; known: {', '.join(_CALLS)}")
        if node.keywords or (len(node.args) != 1 if op == "abs" else len(node.args) < 2):
            raise self.fail(node, f"{name} takes {'one value' if op == 'abs' else 'two or more'}")
        built = [self._number(argument) for argument in node.args]
        unit = built[0][1]
        for argument, (_, other) in zip(node.args[1:], built[1:], strict=True):
            unit = self._same_unit(argument, unit, other, "compare")
        if op == "abs":
            return Node("abs", (built[0][0],)), unit
        return self._fold(op, [child for child, _ in built]), unit

    @staticmethod
    def _fold(op: Op, nodes: list[Node]) -> Node:
        folded = nodes[0]
        for node in nodes[1:]:
            folded = Node(op, (folded, node))
        return folded


class ExpressionError(InputError):
    """A rule breaks the language. `offset` counts characters from the rule's start."""

    def __init__(self, message: str, offset: int, place: str | None = None) -> None:
        super().__init__(message, place)
        self.offset = offset


def parse_expression(text: str) -> Node:
    """Parse a rule to a tree whose root is a truth value. Raises `ExpressionError`."""
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"longer than {MAX_TEXT} characters", 0)
    # A leading blank would be Python's 'unexpected indent'.
    stripped = text.lstrip()
    shift = len(text) - len(stripped)
    if not stripped:
        raise ExpressionError("not a rule: it is empty", 0)
    try:
        tree = ast.parse(stripped, mode="eval")
    except SyntaxError as error:
        raise _not_a_rule(error, stripped, shift) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"not a rule: {error}", 0) from error
    try:
        return _Checker(stripped)._truth(tree.body)
    except ExpressionError as error:
        raise ExpressionError(error.message, error.offset + shift) from error
    except RecursionError as error:
        raise ExpressionError("nested too deeply", 0) from error


def _not_a_rule(error: SyntaxError, text: str, shift: int) -> ExpressionError:
    """Python gives a line, a column from 1 in it, and column 0 for a text that ends too early."""
    if not error.offset:
        end = len(text.rstrip()) + shift
        return ExpressionError("not a rule: something is missing at its end", end)
    lines = text.splitlines(keepends=True)[: (error.lineno or 1) - 1]
    offset = sum(map(len, lines)) + error.offset - 1
    return ExpressionError(f"not a rule: {error.msg}", min(offset, len(text)) + shift)


def signals_read(node: Node) -> set[int]:
    """Rows of the catalogue that a rule reads."""
    rows = {node.signal} if node.op == "signal" else set()
    return rows.union(*(signals_read(child) for child in node.children))
