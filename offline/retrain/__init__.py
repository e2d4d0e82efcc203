"""What a network is retrained on: the mined mix put right, and which of the old comes along.

| module | does |
|---|---|
| `mix` | weights by which mined frames look like what the fleet meets |
| `replay` | the few old frames that stand for all |
"""
