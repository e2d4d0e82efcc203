"""The adapter kit: templates to start from, and the tests that an adapter must pass.

```python
from edge_agent.kit.conformance import check_source
check_source(lambda: open_my_source("recording.bin"))
```

Whoever writes an adapter needs nothing of the agent but `contracts`, `edge_agent.ports` and this
package; docs/adapters.md shows how.
"""

from __future__ import annotations
