"""What a network is retrained on: the mined mix put right, and which of the old comes along.

| module | does |
|---|---|
| `mix` | weights by which mined frames look like what the fleet meets |
| `replay` | the few old frames that stand for all |
| `sources` | datasets as a retraining reads them: frames, weights, the random stream |
| `plan` | what an epoch is made of |
| `run` | a retraining from start to end, resumable, and what it was made of |
| `plot` | the mix as a picture |
"""
