"""From clips to what the selector chooses from.

| module | does |
|---|---|
| `facts` | what a manifest or the catalog says of a clip, as a candidate needs it |
| `tracks` | the vehicle's own detections joined to tracks, for their inconsistency |
| `ensembles` | what a teacher's members, or a student's passes with dropout, say of frames |
| `scoring` | scores, cost features and embedding of one clip, by an ensemble or as told |
| `store` | scored clips on disk, so that none is scored twice |
| `sources` | clips in folders and in the cloud, one at a time |
| `pool` | shards for the selector, in bounded memory |
| `request` | a configuration file, and the report of one turn |

Nothing here decides what is chosen: that is `offline.acquisition.selector`'s.
"""
