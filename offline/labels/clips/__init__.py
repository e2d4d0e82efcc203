"""A recorded clip in, label files out.

| module | holds |
|---|---|
| `instants` | which instants of a clip are labelled, and where the ego was |
| `seen` | what an ensemble said of each of them |
| `tracks` | boxes over the whole clip |
| `ground`, `light` | road and light over the whole clip |
| `labelling` | all of it, as label files |
"""
