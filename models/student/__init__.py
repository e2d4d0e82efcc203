"""The student: the small multi-task network that runs on the vehicle, and how it is made.

| module | holds |
|---|---|
| `config` | sizes `s` and `m`, and every parameter |
| `layers`, `network` | the network |
| `inputs`, `dropout` | frames as tensors; sensors taken away in training |
| `targets`, `losses` | what it shall say, and how wrong it is |
| `train` | one seeded run over frames in memory |
| `calibrate` | scores to probabilities, by class |
| `export`, `quantise` | ONNX, int8, manifest |

Nothing here is a trained model: what is trained carries its manifest and report.
"""
