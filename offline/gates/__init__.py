"""Gates: whether a candidate model may replace the one that the fleet runs.

| module | does |
|---|---|
| `policy` | the rules, as YAML that people read and review |
| `evidence` | what is judged: manifests, cost on the vehicle, scenarios, comparisons, shadow |
| `figures` | claims over the figures of two models on the same frames |
| `judge` | all gates in their order; the first that fails stops the rest |
| `signing` | the report in a signed envelope |

All of it is pure: evidence in, report out, the same report for the same evidence.
"""
