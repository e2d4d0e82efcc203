"""Small pieces of the page. Whatever comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from offline.loop_report.words import NOT_MEASURED

Mood = Literal["good", "bad", "open", ""]
DIGITS = 12


def paragraph(words: str, kind: str = "") -> str:
    return f'<p{_class(kind)}>{escape(words)}</p>' if words else ""  # fmt: skip


def missing(what: str = "") -> str:
    """Says that nothing was measured, and what of."""
    return paragraph(f"{what}: {NOT_MEASURED}." if what else f"{NOT_MEASURED.capitalize()}.",
                     "missing")  # fmt: skip


def code(words: str | None) -> str:
    """A digest, shortened; the whole of it under the pointer."""
    if not words:
        return ""
    short = words[:DIGITS] if len(words) == 64 else words
    return f'<code title="{escape(words)}">{escape(short)}</code>'


def pill(words: str, mood: Mood = "") -> str:
    return f'<span class="pill {mood}">{escape(words)}</span>'


def section(key: str, title: str, lead: str, *parts: str) -> str:
    head = f"<h2>{escape(title)}</h2>{paragraph(lead, 'lead')}"
    return f'<section id="{key}">{head}{"".join(parts)}</section>'


def heading(words: str) -> str:
    return f"<h3>{escape(words)}</h3>"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), kind: str = ""
) -> str:
    """Cells are HTML already; `numbers` are the columns that stand to the right. A table without
    any title has no head.
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{_class('num' if k in numbers else '')}>{cell}</{tag}>"
            for k, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    titles = cells("th", [escape(each) for each in head])
    body = f"<tr>{titles}</tr>{body}" if any(head) else body
    return f'<div class="scroll"><table{_class(kind)}>{body}</table></div>'


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """A name and its figure, line by line; both are text."""
    cells = [(escape(name), escape(value)) for name, value in rows]
    return table(("", ""), cells, numbers=(1,), kind="pairs")


def ids(**digests: str | None) -> str:
    """Digests at the foot of a section, by what they are of."""
    told = " ".join(f"{name} {code(value)}" for name, value in digests.items() if value)
    return f'<p class="ids">{told}</p>' if told else ""


def folded(summary: str, *parts: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Colours (`--name` of the style) and what they stand for."""
    told = "".join(
        f'<span><i style="background:var(--{colour})"></i>{escape(words)}</span>'
        for colour, words in entries
    )
    return f'<div class="legend">{told}</div>'


def tile(value: str, words: str) -> str:
    kind = "none" if value == NOT_MEASURED else ""
    return (
        f'<div class="tile"><b{_class(kind)}>{escape(value)}</b><span>{escape(words)}</span></div>'
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
