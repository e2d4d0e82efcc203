"""The mining benches at a tiny size: every figure is measured, and recall is whole."""

from __future__ import annotations

import json

import pytest

from bench import mining, mining_scenes, mining_sentences
from cloud_ingest.mining.bert import installed_encoder
from cloud_ingest.mining.captions import caption_of
from tests.bench.test_benches import assert_well_formed


def test_searches_by_likeness() -> None:
    figures = mining.run(count=1200, queries=3, hnsw_count=300, ingest_s=0.2)
    assert_well_formed(figures)
    recalls = [each for each in figures if each.name.startswith("recall, ")]
    cells = len(mining.SHARES) * len(mining.DEPTHS)
    assert len(recalls) == cells + len(mining.CONDITIONS)
    assert all(each.value >= 0.99 for each in recalls)
    goals = [each for each in figures if each.goal == "ratio <= 1"]
    assert len(goals) == cells
    assert sum("HNSW" in each.name for each in figures) == 2 * cells + 1


def test_described_clips_are_there_and_their_captions_tell_them_apart() -> None:
    clips = {clip.key: caption_of(clip.manifest) for clip in mining_scenes.stored_clips()}
    told = json.loads(mining_sentences.DESCRIPTIONS.read_text("utf-8"))
    assert len(told) == 100 and len({each["text"] for each in told}) == 100
    assert {each["clip"] for each in told} <= set(clips)
    assert len(set(clips.values())) > 0.9 * len(clips)


def test_a_scenario_is_driven_into_a_clip_that_tells_what_it_saw() -> None:
    clips = mining_scenes.driven_clips(("cow-on-country-road",), duration_s=0.6)
    assert [clip.key.split(" ", 1)[1] for clip in clips] == [
        "day clear", "night clear", "day fog",
    ]  # fmt: skip
    assert {clip.manifest.summary.road_type for clip in clips} == {"rural"}
    assert all((clip.manifest.summary.max_speed_mps or 0) > 10 for clip in clips)


def test_sentences_find_what_they_describe() -> None:
    if installed_encoder() is None:
        pytest.skip("needs longtail[text]")
    figures = mining_sentences.run()
    assert_well_formed(figures)
    assert figures[0].value < 20
