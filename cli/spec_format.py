"""The canonical form of a trigger spec's text.

Guarantees: the formatted text means the same (it is parsed again and compared), and no comment
is lost: comments before a key and behind a one-line value move with their key. A comment
inside a value has no place in the canonical form, so such a file is refused.

The form: keys in the order of the documentation, quantities in the largest unit that keeps
them whole, small mappings on one line, long texts folded. Keys that were not given stay so.
"""

from __future__ import annotations

import datetime as dt
import textwrap
from dataclasses import dataclass, field
from typing import Any

import yaml

from cli.spec_words import KEY_ORDER, written
from contracts.errors import InputError
from contracts.trigger_spec import parse_spec

WIDTH = 100


@dataclass(slots=True)
class _Comments:
    """`before` and `behind` by top-level key; `last` stands after all keys."""

    before: dict[str, list[str]] = field(default_factory=dict)
    behind: dict[str, str] = field(default_factory=dict)
    inside: list[int] = field(default_factory=list)
    last: list[str] = field(default_factory=list)


def format_spec(text: str, source: str, *, drop_comments: bool = False) -> str:
    """The canonical text. Raises `InputError` for a bad spec or a comment that cannot be kept."""
    loaded = parse_spec(text, source)
    comments = _comments(text)
    if comments.inside and not drop_comments:
        raise InputError(
            "a comment inside a value cannot be kept: move it above its key, or drop it with "
            "--drop-comments",
            f"{source}:{comments.inside[0]}",
        )
    given = written(loaded.spec.model_dump(mode="json", by_alias=True, exclude_unset=True))
    lines: list[str] = []
    for key in KEY_ORDER:
        if key in given:
            lines += comments.before.get(key, [])
            block = _render(key, given[key])
            behind = comments.behind.get(key)
            if behind is not None and len(block) > 1:
                lines.append(behind)
            elif behind is not None:
                block[0] += f"  {behind}"
            lines += block
    formatted = "\n".join([*lines, *comments.last]) + "\n"
    if parse_spec(formatted, source).spec != loaded.spec:
        raise InputError("cannot be formatted without changing its meaning", source)
    return formatted


def _render(key: str, value: Any) -> list[str]:
    if key == "description" and len(value) + 13 > WIDTH:
        folded = [f"{key}: >-", *_indented("\n".join(textwrap.wrap(
            value, WIDTH - 2, break_long_words=False, break_on_hyphens=False
        )))]  # fmt: skip
        if yaml.safe_load("\n".join(folded)) == {key: value}:
            return folded
    if key == "target" and isinstance(value.get("expires"), str):
        value = {**value, "expires": dt.date.fromisoformat(value["expires"])}
    flow = _dump(value)
    if len(f"{key}: {flow}") <= WIDTH or not isinstance(value, dict):
        return [f"{key}: {flow}"]
    inner = [f"{name}: {_dump(item, WIDTH - 4 - len(name))}" for name, item in value.items()]
    return [f"{key}:", *_indented("\n".join(inner))]


def _dump(value: Any, width: int = 10**6) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=width
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


def _comments(text: str) -> _Comments:
    """Every comment of the text, by where it stands."""
    found = _Comments()
    node = yaml.SafeLoader(text).get_single_node()
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    keys = [(key.start_mark.line, str(key.value), value) for key, value in pairs]
    waiting: list[str] = []
    columns = _comment_columns(text)
    for number, line in enumerate(text.splitlines()):
        position = columns.get(number)
        started = [(value, name) for first, name, value in keys if first == number]
        if started and waiting:
            found.before[started[0][1]] = waiting
            waiting = []
        if position is None:
            continue
        comment = line[position:].rstrip()
        if not started and not line[:position].strip() and position == 0:
            waiting.append(comment)
        elif started and _last_line(started[-1][0]) == number and position > 0:
            found.behind[started[-1][1]] = comment
        else:
            found.inside.append(number + 1)
    found.last = waiting
    return found


def _last_line(value: yaml.Node) -> int:
    mark = value.end_mark
    # A plain or block value ends where the next token begins: at the start of a later line.
    ended: int = mark.line - 1 if mark.column == 0 and mark.line else mark.line
    return max(ended, value.start_mark.line)


def _comment_columns(text: str) -> dict[int, int]:
    """Line → column of each comment: a '#' outside of all scalars, or behind `>` and `|`."""
    scalars = [
        t for t in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(t, yaml.ScalarToken)
    ]
    blocks = [(t.start_mark, t.end_mark) for t in scalars if t.style in (">", "|")]
    spans = [(t.start_mark, t.end_mark) for t in scalars if t.style not in (">", "|")]
    found: dict[int, int] = {}
    for number, line in enumerate(text.splitlines()):
        if any(a.line < number < b.line for a, b in blocks):
            continue
        for position, character in enumerate(line):
            begins = character == "#" and (position == 0 or line[position - 1] in " \t")
            here = (number, position)
            if begins and not any(
                (a.line, a.column) <= here < (b.line, b.column) for a, b in spans
            ):
                found[number] = position
                break
    return found
