from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from offline.datasets.lineage import Branch, Thing
from offline.loop_report.facts import Change, LineageRow, LoopFacts, StageFacts
from offline.loop_report.lineage import lineage_rows
from offline.loop_report.page import page_text
from offline.loop_report.plots.changes import changes_plot
from offline.loop_report.words import NOT_MEASURED, metric_words
from offline.loop_report.write import INDICATORS_FILE, write_report
from tests.offline.loop_report import example

_VOID = {"meta", "br"}


class _Nesting(HTMLParser):
    """Fails on an element that is not closed in its place; knows all links and sources."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parsed(text: str) -> _Nesting:
    found = _Nesting()
    found.feed(text)
    assert not found.open
    return found


@pytest.mark.parametrize(
    "facts",
    [
        example.complete(),
        example.complete(example.gate_report("tails")),
        LoopFacts(name="nothing"),
        LoopFacts(name="failed", stages=example.stages("train")),
    ],
    ids=["passes", "fails", "empty", "stage failed"],
)
def test_the_page_is_whole_and_asks_for_nothing(facts: LoopFacts, tmp_path: Path) -> None:
    text = write_report(facts, tmp_path / "out").read_text("utf-8")
    page = _parsed(text)
    assert "script" not in page.tags
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text


def test_what_is_absent_is_told_and_never_a_number(tmp_path: Path) -> None:
    text = write_report(LoopFacts(name="nothing"), tmp_path).read_text("utf-8")
    assert text.count("Not measured.") == 15
    told = json.loads((tmp_path / INDICATORS_FILE).read_text("utf-8"))
    known = {name for name, value in told.items() if value is not None}
    assert known == {"name", "headline"}


def test_every_part_is_on_the_page() -> None:
    text = page_text(example.complete())
    assert "Not measured." not in text
    for words in ("critical misses", "novelty", "two sweeps of one log", "vehicle-07", "tod=night",
                  "23.9 % of the uploaded clips", "not at hand", "simulated"):  # fmt: skip
        assert words in text
    # The one stream whose actual cost nobody told.
    assert NOT_MEASURED in text


def test_the_same_facts_give_the_same_bytes(tmp_path: Path) -> None:
    one = write_report(example.complete(), tmp_path / "one")
    two = write_report(LoopFacts.model_validate_json(example.complete().model_dump_json()),
                       tmp_path / "two")  # fmt: skip
    assert one.read_bytes() == two.read_bytes()


def test_indicators_are_what_facts_say(tmp_path: Path) -> None:
    write_report(example.complete(), tmp_path)
    told = json.loads((tmp_path / INDICATORS_FILE).read_text("utf-8"))
    assert told["fleet.fires_per_vehicle_day"] == pytest.approx(1902 / 3.4)
    assert told["funnel.trained_on_of_uploaded"] == pytest.approx(96 / 402)
    assert told["trials.critical misses@all.relative"] == pytest.approx(0.184 / 0.312 - 1)
    assert told["acquisition.actual_cost"] is None
    assert told["gates.passes"] is True
    assert told["mounts.alarms"] == 1


def test_words_from_outside_are_escaped() -> None:
    nasty = '<img src=x onerror=alert(1)>&"'
    facts = LoopFacts(
        name=nasty, notes=(nasty,),
        stages=(StageFacts(name=nasty, state="failed", reason=nasty, figures={nasty: nasty}),),
        lineage=(LineageRow(way="origins", depth=0, kind=nasty, name=nasty, told=nasty),),
    )  # fmt: skip
    assert "img" not in _parsed(page_text(facts)).tags


def test_a_walk_becomes_rows_and_much_of_a_kind_is_folded() -> None:
    clips = tuple(
        Branch(Thing("clip", f"clip-{k}"), "", False, (Branch(Thing("vehicle", f"v-{k}")),))
        for k in range(40)
    )
    rows = lineage_rows(Branch(Thing("label set", "set"), "all", False, clips), "origins")
    assert len(rows) == 81
    assert rows[2] == LineageRow(way="origins", depth=2, kind="vehicle", name="v-0")
    text = page_text(LoopFacts(name="x", lineage=rows))
    assert "and 35 clips more" in text
    assert "v-4" in text
    assert "v-5" not in text


def test_many_slices_are_in_the_table_and_the_most_telling_in_the_plot() -> None:
    changes = tuple(
        Change(metric="recall/vulnerable", slice=f"slice={k}", before=0.5, after=0.5 + k / 100,
               low=-0.01 + k / 100, high=0.01 + k / 100, interval="difference", better="higher")
        for k in range(30)
    )  # fmt: skip
    plot = changes_plot(changes)
    assert "recall, vulnerable" in plot
    assert "10 of 30 slices, the rest in the table" in plot
    assert "slice=29" in plot
    assert "slice=3<" not in plot
    assert "slice=3<" in page_text(LoopFacts(name="x", tails=changes))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("critical_missed_ratio", "critical misses"),
        ("phantoms_per_min", "phantoms a minute"),
        ("ap_2m/car", "AP at 2 m, car"),
        ("engaged_ratio", "engaged"),
    ],
)
def test_figures_are_told_in_words(name: str, said: str) -> None:
    assert metric_words(name) == said
