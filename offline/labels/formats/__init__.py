"""Frame labels to and from the formats that other tools read.

| format       | carries                                       | does not carry                  |
|--------------|-----------------------------------------------|---------------------------------|
| OpenLABEL    | everything (ASAM OpenLABEL 1.0.0 JSON)        |                                 |
| COCO         | everything, by a field of ours by each 2D box |                                 |
| KITTI        | cuboids, class, track, confidence             | velocity, time, provenance, ... |
| nuScenes     | everything of keyframes, by a file of ours    | frames between keyframes        |
| FiftyOne     | everything, by a field of ours by each cuboid |                                 |
| Label Studio | 2D boxes over pictures, verdicts              | where a moved object is         |

Each module's head says what its format cannot carry; its tests name it again. Writers count what
they leave out (`LeftOut`), readers refuse with file and place what they cannot take.
"""
