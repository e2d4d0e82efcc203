"""Does choosing pay? The same loop run with several ways to choose, on paired seeds.

| module | does |
|---|---|
| `ports` | the pool, a learner and what it says of the pool once it has learned |
| `strategies` | chance, entropy alone, k-centre alone, and the selector |
| `run` | one loop: learn, measure, choose, label; again |
| `savings` | labelled boxes that a strategy needs for as good a model as another's |
| `result` | plan, curves and savings as a file, and as a table |
| `heads`, `clips` | the learner: heads over a frozen student's cells, clips as files of them |
| `plot` | the curves as a picture |

All but `heads`, `clips` and `plot` is pure.
"""
