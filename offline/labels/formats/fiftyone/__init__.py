"""Labelled drives as an on-disk FiftyOne dataset (type `FiftyOneDataset`), and back.

    OUT/metadata.json      the dataset: its fields, slices and classes
    OUT/samples.json       a sample for each picture, and one for the scene, of each labelled frame
    OUT/data/DRIVE/...     pictures as they are in the clip, scenes (.fo3d), points (.pcd)

    fiftyone.Dataset.from_dir(dataset_dir=OUT, dataset_type=fiftyone.types.FiftyOneDataset)

A frame is a group: a slice for each camera, and the slice `scene` in three dimensions, in the ego
frame. A scene's `labels` hold all cuboids, a picture's those that it shows, as boxes around their
projection. `index` is the track. Nothing is lost: `frame_head` of a scene is what else is told of
its frame.

What somebody changes in the scene (a class, a place, a deletion) is taken back. What is moved,
renamed or drawn in a picture tells no cuboid and comes back as a `FlatBox`. A cuboid that is drawn
needs `said_by`.

After FiftyOne 1.22's own exporter and importer (`fiftyone/utils/data`), which put these documents
into its database as they are. They carry the version 1.0, so every later one migrates them.
"""
