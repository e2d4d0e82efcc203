"""What happens to a clip after its commit, in this order.

| step      | does                                                  | needs                       |
|-----------|-------------------------------------------------------|-----------------------------|
| read      | reads the clip to its end; quarantines what it cannot |                             |
| frames    | key frames of each camera, as JPEG                    | a camera                    |
| video     | a small H.264 film of one camera                      | a camera, the extra `camera`|
| embedding | the clip's own vector, or the encoder's               | either                      |
| scene     | counts the clip among its scenes                      | a known place and picture   |
| caption   | a sentence                                            | a captioner                 |

Manifest and metadata are read at the commit, before any of these (`commit`, `clip_row`).
"""

from __future__ import annotations

from collections.abc import Mapping

from cloud_ingest.scenes.step import scene
from cloud_ingest.steps.describing import caption, embedding
from cloud_ingest.steps.frames import frames
from cloud_ingest.steps.reading import read
from cloud_ingest.steps.video import video
from cloud_ingest.steps.work import Perform

STEPS: Mapping[str, Perform] = {
    "read": read,
    "frames": frames,
    "video": video,
    "embedding": embedding,
    "scene": scene,
    "caption": caption,
}
