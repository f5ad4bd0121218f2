"""What could not be judged, and why: no finding says nothing about samples that nothing is known of."""

import numpy as np

from lossprint.audit.runs import aside
from lossprint.audit.runs.run import Run
from lossprint.audit.system.parquet import opened
from lossprint.audit.types import KIND_WORDS

SCORES = {"label_error": KIND_WORDS["label_error"][2], "outlier": KIND_WORDS["outlier"][2]}  # the words of many
COLUMNS = ("csl", *SCORES)


def count_unjudged(run: Run) -> dict[str, int]:
    """How many training samples there are (`of`), how many lack a score of each kind of finding, and how many the CSL
    or that of wrong labels (`any`): with losses of some checkpoints only. `doubted`: samples of all splits that
    resemble too many others to be taken for near duplicates.

    Reads block by block, whatever the number of samples.
    """
    counts = dict.fromkeys(("of", "any", *SCORES), 0)
    with opened(run.scores_path, COLUMNS) as file:
        for batch in file.iter_batches(columns=list(COLUMNS)):
            lacking = {name: ~np.isfinite(batch.column(name).to_numpy(zero_copy_only=False)) for name in COLUMNS}
            counts["of"] += batch.num_rows
            counts["any"] += int((lacking["csl"] | lacking["label_error"]).sum())
            for name in SCORES:
                counts[name] += int(lacking[name].sum())
    return counts | {"doubted": run.doubted()}


def sentences(run: Run) -> list[str]:
    """What was not judged, a sentence each; of a run that was scored by an earlier version only what is known."""
    facts = run.manifest["facts"]
    counts = facts.get("find", {}).get("unjudged")
    if counts is None:
        return []
    total, doubt = counts["of"], facts.get("record", {}).get("doubt")
    said = [f"Doubtful: {doubt}"] if doubt else []
    if facts.get("record", {}).get("partial"):
        said.append(
            f"The recording was cut off: scored by its {facts['record'].get('checkpoints'):,} whole checkpoints"
        )
    if counts["any"]:
        incomplete = facts.get("record", {}).get("incomplete", 0)
        why = "their losses were not recorded at every checkpoint" if incomplete else "too little was recorded of them"
        of = f", {counts['label_error']:,} of them not at all for {SCORES['label_error']}"
        said.append(
            f"{counts['any']:,} of {total:,} training samples could not be judged fully"
            f"{of if counts['label_error'] else ''}: {why}"
        )
    if 0 < counts["outlier"] < total:
        said.append(f"{counts['outlier']:,} of {total:,} training samples could not be judged for {SCORES['outlier']}")
    if counts.get("doubted"):
        said.append(
            f"{counts['doubted']:,} images resemble so many others, as photos of a fixed camera do, that copies cannot "
            "be told from look-alikes: none of these is listed as a near duplicate (--near-similarity sets how alike "
            "copies are)"
        )
    if (alike := run.manifest["asked"].get("near_similarity")) is not None:
        said.append(
            f"Near duplicates were asked to be {alike:g} alike (--near-similarity): what one leaves of the other is at "
            f"most {1 - alike:.3g} of what other images of the dataset that resemble it leave"
        )
    copies = aside.sentence(run)
    said += [copies] if copies else []
    nowhere = [] if run.has_duplicates() else ["duplicates"]
    nowhere += [SCORES["outlier"]] if total and counts["outlier"] == total else []
    if nowhere:
        said.append(f"Not looked for: {' and '.join(nowhere)}")
    return said
