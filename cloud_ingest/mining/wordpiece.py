"""WordPiece as BERT's uncased models have it: text to token ids.

The rules are those of the reference implementation (`tokenization.py` of google-research/bert):
clean, split at white space, lower case, strip accents, split at punctuation and around CJK
characters, then the longest pieces of the vocabulary from the left.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from contracts.errors import InputError

_LONGEST_WORD = 100
_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class WordPiece:
    """The vocabulary file has one piece a line; its line number is the piece's id."""

    def __init__(self, vocabulary: Path) -> None:
        lines = vocabulary.read_text("utf-8").splitlines()
        self._ids = {piece: number for number, piece in enumerate(lines)}
        try:
            self._first, self._last = self._ids["[CLS]"], self._ids["[SEP]"]
            self._unknown = self._ids["[UNK]"]
        except KeyError as error:
            raise InputError(f"has no piece {error.args[0]}", vocabulary.name) from error

    def ids(self, text: str, at_most: int) -> list[int]:
        """Ids of a text with its first and last mark, cut to `at_most`."""
        found = [piece for word in _words(text) for piece in self._pieces(word)]
        return [self._first, *found[: at_most - 2], self._last]

    def _pieces(self, word: str) -> list[int]:
        if len(word) > _LONGEST_WORD:
            return [self._unknown]
        found: list[int] = []
        at = 0
        while at < len(word):
            mark = "##" if at else ""
            for end in range(len(word), at, -1):
                piece = self._ids.get(mark + word[at:end])
                if piece is not None:
                    found.append(piece)
                    at = end
                    break
            else:
                return [self._unknown]
        return found


def _words(text: str) -> list[str]:
    cleaned = "".join(_cleaned(letter) for letter in text)
    words: list[str] = []
    for word in cleaned.split():
        plain = "".join(
            letter
            for letter in unicodedata.normalize("NFD", word.lower())
            if unicodedata.category(letter) != "Mn"
        )
        words += "".join(f" {each} " if _is_punctuation(each) else each for each in plain).split()
    return words


def _cleaned(letter: str) -> str:
    code = ord(letter)
    if code in (0, 0xFFFD):
        return ""
    if letter in "\t\n\r" or unicodedata.category(letter) == "Zs":
        return " "
    if unicodedata.category(letter) in ("Cc", "Cf"):
        return ""
    return f" {letter} " if any(low <= code <= high for low, high in _CJK) else letter


def _is_punctuation(letter: str) -> bool:
    if letter.isascii():  # BERT takes $, +, <, =, >, ^, `, | and ~ for punctuation too
        return letter.isprintable() and not letter.isalnum() and letter != " "
    return unicodedata.category(letter).startswith("P")
