"""Executors: work on many clips, on this machine's cores or on a Ray cluster.

| module | does |
|---|---|
| `ports` | tasks, products, outcomes, and what an executor is |
| `messages` | requests and answers as bytes: JSON and plain files, no pickle |
| `source` | the digest of the source of some work, imports included |
| `perform` | calls the work and answers with its product, or with what went wrong |
| `inline`, `local_pool` (`worker`), `ray_cluster` | in this process, in its own, on a cluster |
| `choice` | which of them a command's options ask for |

Work is named `module:function`. It takes one JSON object and returns a `Product`; what it knows
beside the request it reads from files that the request names. Outcomes come in any order.
"""
