"""The page: what happened in one line, the indicators, and a section for each part of the turn."""

from __future__ import annotations

from html import escape

from offline.loop_report.facts import LoopFacts
from offline.loop_report.headline import headline
from offline.loop_report.html import missing, paragraph, section, tile
from offline.loop_report.indicators import Value, indicators
from offline.loop_report.sections.clips import (
    acquisition_section,
    dataset_section,
    fleet_section,
    review_section,
    training_section,
)
from offline.loop_report.sections.course import lineage_section, stages_section, times_section
from offline.loop_report.sections.health import health_section, sim_to_real_section
from offline.loop_report.sections.judgement import (
    changes_section,
    gates_section,
    rollout_section,
    shadow_section,
)
from offline.loop_report.style import STYLE
from offline.loop_report.words import NOT_MEASURED, duration, number, percent

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page_text(facts: LoopFacts) -> str:
    """The same facts give the same page; it asks for nothing from anywhere."""
    found = headline(facts)
    over = facts.name if facts.turn is None else f"{facts.name}, turn {facts.turn}"
    over += "" if facts.seed is None else f", seed {facts.seed}"
    sections = _sections(facts)
    links = "".join(
        f'<a href="#{key}"{"" if body else " class=none"}>{escape(title)}</a>'
        for key, title, body in sections
    )
    bodies = "".join(body or section(key, title, "", missing()) for key, title, body in sections)
    notes = "".join(f"<li>{escape(note)}</li>" for note in facts.notes)
    body = (
        f'<header class="verdict {found.mood}">{paragraph(over, "over")}'
        f"<h1>{escape(found.told)}</h1>{paragraph(found.why, 'why')}</header>"
        + (f'<div class="notes"><ul>{notes}</ul></div>' if notes else "")
        + f'<div class="tiles">{_tiles(indicators(facts))}</div><nav>{links}</nav>{bodies}'
        "<footer>All figures of this page lie beside it in indicators.json.</footer>"
    )
    return document(found.told, body)


def document(title: str, body: str) -> str:
    """A whole page that asks for nothing from anywhere; `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{body}"
        "</main></body></html>\n"
    )


def _sections(facts: LoopFacts) -> list[tuple[str, str, str | None]]:
    """In the order in which people ask: may it go, what is better, how did it come about."""
    trials = changes_section(
        "trials", "Before and after",
        "The same scenes on the same seeds, driven with the model of before and the candidate.",
        facts.trials,
    )  # fmt: skip
    tails = changes_section(
        "tails", "Tails", "Safety classes, night, rain and range, on the gates' frames.",
        facts.tails,
    )  # fmt: skip
    return [
        ("gates", "Gates", gates_section(facts.gates)),
        ("trials", "Before and after", trials),
        ("tails", "Tails", tails),
        ("shadow", "Shadow", shadow_section(facts.shadow)),
        ("rollout", "Rollout", rollout_section(facts.rollout, facts.specs)),
        ("stages", "Stages", stages_section(facts.stages)),
        ("times", "Times", times_section(facts.times)),
        ("fleet", "Fleet and funnel", fleet_section(facts.fleet, facts.funnel)),
        ("acquisition", "Chosen to label", acquisition_section(facts.acquisition)),
        ("review", "Labels and people", review_section(facts.review)),
        ("dataset", "Dataset", dataset_section(facts.dataset)),
        ("training", "Training", training_section(facts.training)),
        ("health", "Health of the flywheel", health_section(facts.health)),
        ("sim-to-real", "Simulation and the real", sim_to_real_section(facts.sim_to_real)),
        ("lineage", "Lineage", lineage_section(facts.lineage)),
    ]


def _way_back(found: dict[str, Value]) -> str:
    """How long from the road to the road; the rollout's begin while no vehicle has the model."""
    ends = {
        "times.clip_to_canary_s": "clip captured → model on the canary",
        "times.clip_to_rollout_s": "clip captured → rollout begun",
    }
    for name, words in ends.items():
        if isinstance(seconds := found[name], int | float):
            return tile(duration(float(seconds)), words)
    return tile(duration(None), next(iter(ends.values())))


def _tiles(found: dict[str, Value]) -> str:
    def real(name: str) -> float | None:
        value = found.get(name)
        return float(value) if isinstance(value, int | float) else None

    gate = found["gates.stopped_by"]
    gates = NOT_MEASURED if found["gates.passes"] is None else "all pass"
    if isinstance(gate, str):
        gates = "shadow to come" if found["gates.waits_for_the_fleet"] else f"stopped: {gate}"
    drifted, tested = real("drift.drifted"), real("drift.tested")
    drift = NOT_MEASURED if drifted is None else f"{number(drifted)} of {number(tested)}"
    return "".join((
        tile(gates, "gates"),
        _way_back(found),
        tile(duration(real("times.log_to_curated_s")), "raw log → curated data"),
        tile(number(real("fleet.fires_per_vehicle_day")), "fires for each vehicle-day"),
        tile(number(real("fleet.clips_per_vehicle_day")), "clips for each vehicle-day"),
        tile(percent(real("fleet.byte_budget_used")), "of the byte budget used"),
        tile(percent(real("funnel.trained_on_of_uploaded")), "of uploads survive to training"),
        tile(percent(real("review.auto_accepted")), "boxes accepted without people"),
        tile(number(real("review.kappa")), "kappa of annotators"),
        tile(drift, "drift tests that alarm"),
    ))  # fmt: skip
