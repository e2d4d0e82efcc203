"""Datasets: label sets and dataset versions, kept by content, and where they come from.

| module | does |
|---|---|
| `store` | keeps label files, clips, label sets and dataset versions in a folder |
| `label_sets` | a label set from folders of labelled drives |
| `split` | which clips are never parted, and which split they are dealt to |
| `versions` | a dataset version from label sets |
| `training` | the digest by which a training run names its data |
| `export` | a dataset version as folders that models are trained on |
| `lineage` | model → dataset version → label set → clip → trigger spec and vehicle, and back |

STORE/objects/ab/abcdef…             label files, by SHA-256
STORE/clips/ab/abcdef….mcap          clips, by clip id
STORE/label_sets/DIGEST.json         manifests: canonical JSON, named by its SHA-256
STORE/dataset_versions/DIGEST.json
"""
