"""Acquisition: which of the clips that the fleet sent are labelled next.

| module | does |
|---|---|
| `scores` | named scores of a clip, from an ensemble's word on its boxes and from its tracks |
| `lattice`, `coverage` | exact distances in embedding space, greedy k-centre |
| `dedup` | one of several that show the same: in time within a drive, and by embedding |
| `cost` | boxes or labeller-seconds that a clip will take |
| `draw`, `estimate` | the random stream, and unbiased figures from it |
| `records`, `shortlist`, `picking`, `selector` | what to label, why, and at what cost |
| `tables` | a selection as people read it |
| `adapters` | from clips, in folders or in the cloud, to candidates, and a whole turn |

All but the adapters is pure: values in, values out, the same values for the same input whatever
its order or how it is cut into shards.
"""
