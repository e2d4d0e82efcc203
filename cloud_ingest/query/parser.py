"""Parses the search language, a safe subset of SQL's WHERE.

    search     = [ or ] [ ORDER BY order ] [ LIMIT number ]
    order      = column [ ASC | DESC ] | SIMILARITY TO target
    target     = ( CLIP | PICTURE | SENTENCE ) "(" text [ "," text ] ")"
    or         = and { OR and }
    and        = not { AND not }
    not        = NOT not | "(" or ")" | predicate
    predicate  = operand ( "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" ) operand
               | constant "=" ANY "(" column ")"
               | column [ NOT ] IN "(" constant { "," constant } ")"
               | column [ NOT ] BETWEEN constant AND constant
               | column [ NOT ] LIKE text
               | column IS [ NOT ] NULL
               | column
    operand    = column | constant
    constant   = number | 'text' | TRUE | FALSE

Nothing else parses, so nothing else runs. NULL behaves as in SQL: a comparison with an absent
value is unknown, and a search returns what is true. Raises `InputError` with the column of the
text, and nothing else, for any text at all.
"""

from __future__ import annotations

import re
from typing import Final, cast, get_args

from cloud_ingest.query.columns import kind_of
from cloud_ingest.query.lexer import Token, fail, tokenise
from cloud_ingest.query.tree import (
    AnyOf,
    Between,
    Both,
    ColumnRef,
    Compare,
    CompareOp,
    Constant,
    Either,
    Expression,
    InList,
    IsNull,
    Like,
    Not,
    Operand,
    Order,
    Query,
    Similarity,
    TargetKind,
    Truth,
)
from cloud_ingest.query.typing_rules import check_compare, check_constant, check_like, check_truth

MAX_DEPTH: Final = 50
MAX_PREDICATES: Final = 200
MAX_VALUES: Final = 1000
MAX_LIMIT: Final = 2**31 - 1

_COMPARE = {"=", "<>", "<", "<=", ">", ">="}
_RESERVED = {
    "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS", "NULL", "ANY", "TRUE", "FALSE",
    "ORDER", "BY", "ASC", "DESC", "LIMIT",
}  # fmt: skip


def parse_query(text: str) -> Query:
    """Parse and check a search; an empty one finds everything."""
    return _Parser(tokenise(text)).query()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._predicates = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _advance(self) -> Token:
        token = self._token
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _accept(self, word: str) -> bool:
        if self._token.is_word(word):
            self._advance()
            return True
        return False

    def _expect(self, text: str) -> None:
        token = self._token
        if not (token.is_word(text) or (token.kind == "sign" and token.text == text)):
            raise fail(f"expected {text}, not {token.shown()}", token.position)
        self._advance()

    def query(self) -> Query:
        where = None
        if self._token.kind != "end" and self._token.text.upper() not in ("ORDER", "LIMIT"):
            where = self._or()
        order = self._order() if self._accept("ORDER") else None
        limit = self._limit() if self._accept("LIMIT") else None
        if self._token.kind != "end":
            raise fail(
                f"expected AND, OR or the end, not {self._token.shown()}", self._token.position
            )
        return Query(where, order, limit)

    def _order(self) -> Order | Similarity:
        self._expect("BY")
        if self._accept("SIMILARITY"):
            return self._similarity()
        column = self._column()
        if kind_of(column) == "texts":
            raise fail(f"{column.name} is a list and has no order", column.position)
        descending = self._accept("DESC")
        if not descending:
            self._accept("ASC")
        return Order(column, descending)

    def _similarity(self) -> Similarity:
        self._expect("TO")
        token = self._advance()
        kind = token.text.lower()
        if token.kind != "word" or kind not in get_args(TargetKind):
            raise fail(
                "expected clip('id'), picture('id') or sentence('words'),"
                f" not {token.shown()}", token.position,
            )  # fmt: skip
        self._expect("(")
        position = self._token.position
        text, space = self._text(f"{kind}(...) takes a text in single quotes"), None
        if not text.strip():
            raise fail("says nothing to be like", position)
        if self._token.kind == "sign" and self._token.text == ",":
            self._advance()
            position_of_space = self._token.position
            space = self._text("a space is a text: the beginning of its digest")
            if not re.fullmatch("[0-9a-f]{4,64}", space):
                raise fail("a space is 4 to 64 hex digits", position_of_space)
        self._expect(")")
        for word in ("ASC", "DESC"):
            if self._token.is_word(word):
                raise fail("the likest come first: there is no other order", self._token.position)
        return Similarity(cast(TargetKind, kind), text, space, position)

    def _text(self, otherwise: str) -> str:
        token = self._advance()
        if token.kind != "string":
            raise fail(f"{otherwise}, not {token.shown()}", token.position)
        return token.text

    def _limit(self) -> int:
        token = self._advance()
        if token.kind != "number" or not token.text.isdigit() or token.number > MAX_LIMIT:
            raise fail("LIMIT takes a whole number", token.position)
        return int(token.text)

    def _or(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise fail(f"nested more than {MAX_DEPTH} deep", self._token.position)
        left = self._and()
        while self._accept("OR"):
            left = Either(left, self._and())
        self._depth -= 1
        return left

    def _and(self) -> Expression:
        left = self._not()
        while self._accept("AND"):
            left = Both(left, self._not())
        return left

    def _not(self) -> Expression:
        negations = 0
        while self._accept("NOT"):
            negations += 1
        if self._token.kind == "sign" and self._token.text == "(":
            self._advance()
            found = self._or()
            self._expect(")")
        else:
            found = self._predicate()
        # NOT NOT x is x in three-valued logic too.
        return Not(found) if negations % 2 else found

    def _predicate(self) -> Expression:
        self._predicates += 1
        if self._predicates > MAX_PREDICATES:
            raise fail(f"more than {MAX_PREDICATES} conditions", self._token.position)
        left = self._operand()
        token = self._token
        if token.kind == "sign" and token.text in _COMPARE:
            self._advance()
            return self._comparison(left, cast(CompareOp, token.text), token.position)
        if isinstance(left, Constant):
            raise fail(f"expected a comparison, not {token.shown()}", token.position)
        if self._accept("IS"):
            negated = self._accept("NOT")
            self._expect("NULL")
            return _negate(IsNull(left), negated)
        negated = self._accept("NOT")
        if self._accept("IN"):
            return _negate(self._in(left), negated)
        if self._accept("BETWEEN"):
            low = self._constant(left)
            self._expect("AND")
            return _negate(Between(left, low, self._constant(left)), negated)
        if self._accept("LIKE"):
            pattern = self._literal()
            check_like(left, pattern)
            return _negate(Like(left, pattern), negated)
        if negated:
            raise fail(
                f"expected IN, BETWEEN or LIKE, not {self._token.shown()}", self._token.position
            )
        check_truth(left)
        return Truth(left)

    def _comparison(self, left: Operand, op: CompareOp, position: int) -> Expression:
        if not self._accept("ANY"):
            right = self._operand()
            check_compare(left, op, right, position)
            return Compare(op, left, right)
        if op != "=" or not isinstance(left, Constant):
            raise fail("ANY is written 'value' = ANY(column)", position)
        self._expect("(")
        array = self._column()
        self._expect(")")
        if kind_of(array) != "texts":
            raise fail(f"{array.name} is not a list", array.position)
        if not isinstance(left.value, str):
            raise fail(f"{array.name} holds texts", left.position)
        return AnyOf(left, array)

    def _in(self, column: ColumnRef) -> InList:
        self._expect("(")
        values = [self._constant(column)]
        while self._token.kind == "sign" and self._token.text == ",":
            self._advance()
            values.append(self._constant(column))
            if len(values) > MAX_VALUES:
                raise fail(f"more than {MAX_VALUES} values", self._token.position)
        self._expect(")")
        return InList(column, tuple(values))

    def _operand(self) -> Operand:
        token = self._token
        if token.kind == "word" and token.text.upper() not in ("TRUE", "FALSE", "NULL"):
            return self._column()
        return self._literal()

    def _column(self) -> ColumnRef:
        token = self._advance()
        if token.kind != "word" or token.text.upper() in _RESERVED:
            raise fail(f"expected a column, not {token.shown()}", token.position)
        column = ColumnRef(token.text.lower(), token.position)
        kind_of(column)
        return column

    def _constant(self, column: ColumnRef) -> Constant:
        """A constant that `column` may be compared with."""
        constant = self._literal()
        check_constant(column, constant)
        return constant

    def _literal(self) -> Constant:
        token = self._advance()
        if token.kind == "string":
            return Constant(token.text, token.position)
        if token.kind == "number":
            return Constant(token.number, token.position)
        if token.is_word("TRUE") or token.is_word("FALSE"):
            return Constant(token.is_word("TRUE"), token.position)
        if token.is_word("NULL"):
            raise fail("nothing equals NULL; write IS NULL", token.position)
        raise fail(f"expected a value, not {token.shown()}", token.position)


def _negate(expression: Expression, negated: bool) -> Expression:
    return Not(expression) if negated else expression
