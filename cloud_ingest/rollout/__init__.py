"""Staged rollouts as pure decisions: values in, decisions out, no I/O.

`machine.step` is the whole of it; `docs/rollout-statistics.md` tells what the guardrails'
test assumes and what breaks it.
"""
