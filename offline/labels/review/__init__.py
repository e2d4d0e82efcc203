"""From auto-labels over people back to labels: the router, the queue and consensus as one path.

| module | holds |
|---|---|
| `drives` | labelled drives by name, read and written without rewriting what is the same |
| `groups` | classes and ranges, and from which confidence on each is accepted |
| `routing` | tiers of all drives' tracks within a budget, and the labels that follow |
| `tasks` | what people are asked: routed tracks, audits, gold, searches |
| `route` | all of it as a folder of labels, tasks and a report |
| `records`, `journal` | what was decided, as lines that are only ever added |
| `judging` | submitted answers to decisions |
| `settle` | decisions told to the queue, each exactly once |
| `standing` | what the journal says of annotators, thresholds, agreement and blind spots |
| `merging` | decisions and accepted boxes to labels |
| `simulated` | people for tests and demonstrations |
"""
