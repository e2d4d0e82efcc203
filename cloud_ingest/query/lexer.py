"""Cuts a search into words, numbers, strings and signs. Raises `InputError` with the column."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from contracts.errors import InputError

MAX_CHARACTERS = 10_000

Kind = Literal["word", "number", "string", "sign", "end"]

_SPACE = re.compile(r"[ \t\r\n]+")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_STRING = re.compile(r"'((?:[^']|'')*)'")
_SIGN = re.compile(r"<=|>=|<>|!=|[=<>(),]")


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is a string's content, a word or sign as written; `number` a number's value."""

    kind: Kind
    text: str
    position: int
    number: float = 0.0

    def is_word(self, word: str) -> bool:
        """True for this keyword in any case."""
        return self.kind == "word" and self.text.upper() == word

    def shown(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text[:40])


def fail(message: str, position: int) -> InputError:
    """An error at a column of the search."""
    return InputError(message, f"where, column {position}")


def tokenise(text: str) -> list[Token]:
    """All tokens, an `end` token last."""
    if len(text) > MAX_CHARACTERS:
        raise fail(f"more than {MAX_CHARACTERS} characters", MAX_CHARACTERS)
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        if space := _SPACE.match(text, at):
            at = space.end()
            continue
        token, at = _next(text, at)
        tokens.append(token)
    tokens.append(Token("end", "", len(text) + 1))
    return tokens


def _next(text: str, at: int) -> tuple[Token, int]:
    position = at + 1
    if match := _WORD.match(text, at):
        return Token("word", match.group(), position), match.end()
    if match := _NUMBER.match(text, at):
        number = float(match.group())
        if not math.isfinite(number):
            raise fail(f"{match.group()[:40]} is not a finite number", position)
        return Token("number", match.group(), position, number), match.end()
    if match := _STRING.match(text, at):
        content = match.group(1).replace("''", "'")
        if "\0" in content or any("\ud800" <= letter <= "\udfff" for letter in content):
            raise fail("text holds a character that cannot be stored", position)
        return Token("string", content, position), match.end()
    if match := _SIGN.match(text, at):
        sign = "<>" if match.group() == "!=" else match.group()
        return Token("sign", sign, position), match.end()
    if text[at] == "'":
        raise fail("this text has no closing quote", position)
    if text[at] == '"':
        raise fail("text is written in single quotes: 'clear'", position)
    raise fail(f"{text[at]!r} has no meaning here", position)
