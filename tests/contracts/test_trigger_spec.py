"""Trigger specs: what is accepted, and that every complaint names its place and its cure."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InputError
from contracts.quantities import parse_bytes, parse_duration_ns
from contracts.trigger_spec import (
    SPEC_KINDS,
    ExpressionSpec,
    json_schema_text,
    load_specs,
    parse_spec,
)

PUBLISHED = Path(__file__).resolve().parents[2] / "trigger_specs"

SPEC = """\
apiVersion: longtail/v1
kind: expression
id: strong-braking
version: 3
owner: fleet-operations
when: ego.decel_mps2 > 2.0 and ego.speed_mps > 3
for: 300ms
capture: {pre: 5s, post: 1.5s}
budget: {clips_per_day: 4, bytes_per_day: 200MB}
"""


def test_quantities_are_read_in_their_units() -> None:
    spec = parse_spec(SPEC, "a.yaml").spec
    assert isinstance(spec, ExpressionSpec)
    assert spec.hold == 300_000_000
    assert spec.capture.post == 1_500_000_000
    assert spec.budget.bytes_per_day == 200_000_000


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (("ego.speed_mps", "ego.sped_mps"), "a.yaml:6:32", "did you mean 'ego.speed_mps'"),
        (("> 2.0", "> ego.speed_mps"), "a.yaml:6:7", "cannot compare m/s^2 with m/s"),
        (("300ms", "3 lightyears"), "a.yaml:7:6", "unknown unit 'lightyears'"),
        (("300ms", "3"), "a.yaml:7:6", "needs a unit"),
        (("pre: 5s", "prior: 5s"), "a.yaml:8:11", "unknown key 'prior'"),
        (("capture", "kapture"), "a.yaml:8:1", "did you mean 'capture'"),
        (("expression", "expresion"), "a.yaml:2:7", "unknown kind 'expresion'"),
        (("version: 3", "version: three"), "a.yaml:4:10", "valid integer"),
        (("owner: fleet-operations\n", ""), "a.yaml:1:1", "'owner' is missing"),
        (("owner:", "id: b\nowner:"), "a.yaml:5:1", "'id' is given twice"),
        (("clips_per_day: 4", "clips_per_day: -4"), "a.yaml:9:25", "greater than or equal to 0"),
        (("fleet-operations", "!!python/object:os.system x"), "a.yaml:5:8", "not allowed"),
        (("longtail/v1", "longtail/v9"), "a.yaml:1:13", "longtail/v1"),
        (("and ego", "and and ego"), "a.yaml:6:32", "not a rule"),
        (("speed_mps > 3", "speed_mps >"), "a.yaml:6:47", "missing at its end"),
        (("> 2.0 and", "> 2.0 and __import__('os') and"), "a.yaml:6:32", "no function"),
        (("capture:", "  capture:"), "a.yaml:8:10", "not valid YAML"),
    ],
)
def test_complaints_name_place_and_cure(change: tuple[str, str], place: str, says: str) -> None:
    text = SPEC.replace(*change, 1)
    assert text != SPEC
    with pytest.raises(InputError) as caught:
        parse_spec(text, "a.yaml")
    assert caught.value.place == place
    assert says in caught.value.message


@given(st.text(max_size=300))
def test_any_text_is_a_spec_or_an_input_error(text: str) -> None:
    try:
        parse_spec(text, "fuzz.yaml")
    except InputError as error:
        assert error.place is not None
        assert error.place.startswith("fuzz.yaml")


@given(st.text(max_size=80))
def test_any_rule_is_a_rule_or_an_input_error(rule: str) -> None:
    quoted = "'" + rule.replace("'", "''").replace("\n", " ") + "'"
    try:
        parse_spec(SPEC.replace("ego.decel_mps2 > 2.0 and ego.speed_mps > 3", quoted), "r.yaml")
    except InputError as error:
        assert error.place is not None


@given(st.text(max_size=20) | st.integers() | st.floats() | st.none() | st.booleans())
def test_quantities_never_raise_anything_but_value_errors(raw: object) -> None:
    for parse in (parse_duration_ns, parse_bytes):
        try:
            parse(raw)
        except ValueError:
            continue


def test_published_specs_cover_every_kind_and_the_schema_is_current() -> None:
    specs = load_specs(PUBLISHED)
    kinds = {loaded.spec.kind for loaded in specs}
    # A rule is anything, and likeness to scenes is one model's: neither is published for all.
    assert kinds == set(SPEC_KINDS) - {"expression", "similar_to", "novelty"}
    assert (PUBLISHED / "trigger_spec.schema.json").read_text() == json_schema_text()


def test_two_files_of_one_id_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SPEC)
    (tmp_path / "b.yaml").write_text(SPEC)
    with pytest.raises(InputError, match="also in a"):
        load_specs(tmp_path)


def test_digest_names_the_bytes() -> None:
    assert parse_spec(SPEC, "a").digest != parse_spec(SPEC + "\n", "a").digest
