"""Whether a run's samples are frames of several videos, and if so, what is seen of them over time."""

import numpy as np

from lossprint.audit.runs.run import Run
from lossprint.audit.training import loading


def look(run: Run, work, vectors: np.ndarray | None = None) -> None:
    """Write the timeline of a recorded run, with `vectors` (N, d) where a frozen backbone takes the place of networks.

    Nothing is written where there are no videos, where fewer than two are trained on, or a frame has no number. `work`
    is that of `workflow.stages`.
    """
    inputs, frame = work.inputs, work.loaded.dataset.samples["frame"]
    if inputs.sequence is None or not frame[inputs.sequence != ""].notna().all():
        return
    trained = inputs.sequence[(inputs.split == "train") & (inputs.sequence != "")]
    if len(np.unique(trained)) < 2 or (vectors is None and not work.asked["folds"]):
        return
    from lossprint.audit.video import timeline

    small, number = loading.thumbs(work.loaded), frame.fillna(-1).to_numpy(np.int64)
    timeline.write(run, inputs, number, small, work.asked, work.device, work.quiet, vectors)
