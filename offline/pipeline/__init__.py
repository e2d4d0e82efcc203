"""The loop: from the clips that a fleet sent to a better model on it.

`table` is the loop at a glance. `spec` says what one loop works on, `turn` runs the table over one
snapshot of clips, `durable` makes that survive the process, `stages/` does the work.
"""
