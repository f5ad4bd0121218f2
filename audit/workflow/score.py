"""`lossprint score`: scores and findings of what is recorded, once more."""

import warnings
from pathlib import Path

from lossprint.audit.findings import engines
from lossprint.audit.findings.duplicates import write_duplicates
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.quality import write_quality
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.moved import at
from lossprint.audit.recording.responses import read_responses, write_responses
from lossprint.audit.recording.session import end_partial
from lossprint.audit.runs.open import how_far, needs_audit, open_run
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.system.locks import writes
from lossprint.audit.training.loading import DEFAULTS, load
from lossprint.audit.types import LossprintError


@writes(lambda path, *_, **__: path)
def score(
    path: str | Path,
    engine: str = "local",
    memory: float | None = None,
    workers: int | None = None,
    quiet: bool = False,
    partial: bool = False,
    dataset: str | None = None,
    responses: str | Path | None = None,
) -> Run:
    """Score and find again from what is recorded. In a Recorder's run, look for duplicates the first time.

    With `partial` a Recorder's run that was cut off is scored as far as it got, to its last whole checkpoint.

    `dataset` is where the images are, see `moved.at`; `responses` a table of prompt/response pairs, see
    `recording.responses`, which is kept.

    `engine` is local or ray, `memory` the bytes that each process may take for scoring, `workers` the processes that
    Ray starts on this machine. See `engines` and `score_run`.
    """
    engines.check(engine, workers)
    run = open_run(path, need=None if partial else "record")
    if partial and "record" not in run.stages and {"epochs", "checkpoints"}.isdisjoint(run.manifest["asked"]):
        run = end_partial(run)
    run = open_run(path, need="record")
    if needs_audit(run):
        raise LossprintError(f"expected a whole run, found one half written at {path}: {how_far(run)}")
    if responses is not None:
        write_responses(run, read_responses(run, responses))
    if not run.has_duplicates() and run.manifest["dataset"].get("source"):
        _look_for_duplicates(run, run if dataset is None else at(run, dataset))
    with engines.start(engine, workers) as started:
        run = score_run(run, started, memory, quiet)
    return find_run(run)


def _look_for_duplicates(run: Run, placed: Run) -> None:
    """Duplicates among the images of a run whose losses came from the user's own loop, if they are still there."""
    try:
        about = dataset_of(placed)
        asked = DEFAULTS | about.get("choices", {}) | {"dataset": about["source"], "task": run.task}
        loaded, _ = load(asked, quiet=True)
    except LossprintError as error:
        warnings.warn(f"duplicates were not looked for: {error}", stacklevel=3)
        return
    write_duplicates(run, loaded, None)
    write_quality(run, loaded)
