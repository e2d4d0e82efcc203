"""Stage runs: one stage's work over many clips, each done once and kept.

| module | does |
|---|---|
| `stage` | a stage, a clip's inputs, and the keys that they give |
| `objects` | files under their SHA-256, durable |
| `records`, `folder` | what is known of each clip and run, on disk |
| `run` | runs a stage over clips, going on where an earlier run ended |

WORK/objects/ab/abcdef…          what clips gave, by content
WORK/clips/KEY.json              a clip's record: its checkpoint
WORK/runs/KEY.json               a whole run's
WORK/lock                        held by the process at work

A kill at any moment loses at most the clips that were being worked on.
"""
