"""Auto-labels of the chosen clips: product/drives/NAME/{clip.mcap,labels/}.

Work is kept by clip in the loop's folder, so that a stage that was cut off, and a later turn, label
no clip twice.
"""

from __future__ import annotations

from offline.executor.choice import executor_of
from offline.labels.clips.parameters import read_clip_parameters
from offline.labels.clips.published import publish_drive
from offline.labels.clips.stage import STAGE, Settings, clips_under, drive_inputs
from offline.pipeline.stages.ingest import CLIPS
from offline.pipeline.work import Result, Work
from offline.runs.folder import WorkFolder
from offline.runs.run import Progress, check, run_stage

DRIVES, RUN_FILE = "drives", "run.json"


def label(work: Work) -> Result:
    """Label every clip; one that fails keeps the turn from going on, and is named."""
    section = work.spec.label
    parameters = section.parameters_file
    read_clip_parameters(parameters)
    clips = [
        drive_inputs(clip, section.teacher, parameters)
        for clip in clips_under([work.needs["acquire"] / CLIPS])
    ]
    by_name = {each.clip: each.files["clip"][0] for each in clips}
    folder = WorkFolder(work.shared / "labels")
    out = work.product / DRIVES

    def told(progress: Progress) -> None:
        work.say(f"{progress.number} of {progress.total} clips labelled")

    settings = Settings(
        bf16=section.bf16, points=section.points, members=section.members, mirror=section.mirror
    ).told()  # fmt: skip
    executor = executor_of(section.workers, section.ray)
    run = run_stage(STAGE, settings, clips, folder, executor, told)
    check(run)
    for record in run.clips:
        publish_drive(folder, record, by_name[record.clip], out)
    (work.product / RUN_FILE).write_text(run.model_dump_json(indent=1) + "\n", "utf-8")
    figures = {
        name: sum(int(each.figures[name]) for each in run.clips)
        for name in ("instants", "tracks", "boxes", "ignored")
    }
    return Result({"clips": len(run.clips), **figures})
