"""The benchmark runs, in a tiny configuration, and its peer chooses as ours does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import acquisition, cli
from offline.acquisition.coverage import k_centre


def test_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("VECTORS", 200), ("CENTRES", 8), ("PEER_CENTRES", 4), ("BOXES", 50), ("_REPETITIONS", 1),
    ):  # fmt: skip
        monkeypatch.setattr(acquisition, name, value)
    result = CliRunner().invoke(cli.app, ["acquisition", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["figures"]
    assert len({each["name"] for each in figures}) == len(figures) == 5
    assert {each["goal"] for each in figures} >= {"<= 60", "ratio <= 1.01", "ratio >= 2"}


def test_the_peer_chooses_the_same_where_nothing_is_close() -> None:
    vectors = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    rows, radius = acquisition.plain_k_centre(vectors, 12)
    ours = k_centre([vectors], 12)
    assert ours.rows.tolist() == rows
    assert ours.radius == pytest.approx(radius, rel=1e-3)


def test_the_peers_mutual_information_is_ours() -> None:
    told = np.random.default_rng(2).dirichlet(np.ones(4), (8, 30))[..., :3]
    found = acquisition._plain_mutual_information(told)
    np.testing.assert_allclose(acquisition.class_scores(told).mutual_information, found, atol=1e-12)
