"""What the models over time said of every frame -> the tables of frames and spans. Needs no network and no image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.runs.run import Run
from lossprint.audit.types import SPLITS
from lossprint.audit.video.judged import Judged, judged
from lossprint.scoring import sequences
from lossprint.scoring.videos import evidence, order

# Evidence in nats from which a span is a finding. Set for odds of about 20 and 50 to 1; there are many more ways to
# exchange blocks than to relabel a stretch, and none of them is looked for with an image.
LABEL, SWAP, MOVE = 3.0, 0.5, 4.0
# Of what a label's being stated is worth, frame by frame, so much counts against a stretch, which is wrong or right as
# a whole, and so much against an exchange, which explains two phases at once.
WHOLE, BOTH = 0.5, 0.3
WEAKER = 0.5  # of an exchange's evidence: the side that says less, where all judges are heard; the rest is both sides
CLEAR = 0.5  # nats above LABEL from which a wrong label in the frames is why their order is strange
FAINT = 0.05  # of the severity of moved blocks that are no finding: most videos have some order that others lack
NONE = 20.0  # nats against an exchange of a label that no other phase of the video has
WIDTH = 9  # frames of the moving mean of what single frames say of a label


@dataclass(frozen=True)
class Timeline:
    """Views of M frames, by sequence and number: thumbs (M, S, S, 3) uint8, log (M, C) nats of each label; stated (M,)
    nats that a label's being stated is worth, LABEL where only held-out judges have looked and nothing says."""

    log: np.ndarray
    thumbs: np.ndarray
    stated: np.ndarray | None = None


@dataclass(frozen=True)
class Found:
    """K findings. how (K,): relabel, swap or move; start, middle, stop (K,) rows, stop excluded, middle -1 for relabel;
    label (K,) suggested class index, -1 for a move; evidence (K,) as a severity in (0, 1).

    label_severity and order_severity (M,): of each frame, whether in a finding or not.
    """

    how: np.ndarray
    start: np.ndarray
    middle: np.ndarray
    stop: np.ndarray
    label: np.ndarray
    severity: np.ndarray
    path: np.ndarray
    label_severity: np.ndarray
    order_severity: np.ndarray


def find(labels: np.ndarray, bounds: np.ndarray, line: Timeline) -> Found:
    """Spans of wrong labels and of wrong order in the frames of a timeline; labels (M,) class indices as given.

    An exchange of blocks of frames goes before an exchange of labels, and that before wrong labels in the same frames,
    unless a wrong label explains the frames better: then a rare order is only what the wrong label makes of it.
    """
    log, habit, clear = line.log, 1.0, MOVE
    pictures = sequences.styleless(line.thumbs, bounds)
    moves = order.exchanges(labels, bounds, pictures, log.shape[1])
    if line.stated is None:
        swaps = sequences.swaps(log, labels, bounds)
        path = sequences.best_path(log, bounds)
    else:
        path = sequences.best_path(_against(log, labels, line.stated * WHOLE), bounds)
        clear = LABEL + CLEAR
        habit = max(float(line.stated.mean()) * WHOLE / LABEL, 0.0)  # of nats that weigh so much more
        against = _against(log, labels, line.stated * BOTH - SWAP)
        swaps = sequences.swaps(against, labels, bounds, habit=habit, weaker=WEAKER)
        log = _against(log, labels, line.stated * WHOLE - LABEL)
    spans = sequences.label_spans(log, labels, bounds, path, habit=habit)
    best = np.full(len(labels), -np.inf)
    for start, stop, value in zip(spans.start, spans.stop, spans.evidence):
        best[start:stop] = value
    for start, stop, value in zip(swaps.start, swaps.stop, swaps.evidence):
        if value > SWAP:
            best[start:stop] = np.inf
    taken = np.zeros(len(labels), bool)
    found = []
    for at in np.argsort(-moves.evidence, kind="stable"):
        start, middle, stop = moves.start[at], moves.middle[at], moves.stop[at]
        value = moves.evidence[at]
        if value <= MOVE:
            break
        # A wrong label makes an order that no other video has, too. The frames then speak for another label, or, where
        # it is short, the pictures deny the exchange.
        if moves.joins[at] >= 0 and best[start:stop].max() < clear and not taken[start:stop].any():
            taken[start:stop] = True
            found.append(("move", start, middle, stop, -1, float(sequences.severity(value, MOVE))))
    for at in np.argsort(-swaps.evidence, kind="stable"):
        start, middle, stop = swaps.start[at], swaps.middle[at], swaps.stop[at]
        if swaps.evidence[at] <= SWAP:
            break
        if not taken[start:stop].any():
            taken[start:stop] = True
            value = float(sequences.severity(swaps.evidence[at], SWAP))
            found.append(("swap", start, middle, stop, labels[middle], value))
    rest = sequences.label_spans(log, labels, bounds, path, taken, habit=habit)
    if line.stated is None:
        level = sequences.smoothed(evidence.doubt(log, labels), bounds, WIDTH)
    else:
        level = evidence.doubt(log, labels)
    for start, stop, label, value in zip(rest.start, rest.stop, rest.label, rest.evidence):
        level[start:stop] = np.maximum(level[start:stop], value)
        if value > LABEL:
            found.append(("relabel", start, -1, stop, label, float(sequences.severity(value, LABEL))))
    turned = np.zeros(len(labels))
    for one, threshold in ((moves, MOVE), (swaps, SWAP)):
        values = sequences.severity(one.evidence, threshold)
        for start, stop, value in zip(one.start, one.stop, values):
            np.maximum(turned[start:stop], value, out=turned[start:stop])
    # Shuffled frames are no finding, as no exchange puts them right, but they are suspicious.
    shuffled = sequences.severity(order.unrest(pictures, labels, bounds, WIDTH), MOVE)
    turned = np.fmax(turned, shuffled)
    if line.stated is not None:
        each = _against(line.log, labels, line.stated * BOTH)
        partners = np.maximum(evidence.partnered(each, labels, bounds), -NONE)
        moved = np.zeros(len(labels), bool)
        for how, start, _, stop, *_ in found:
            moved[start:stop] |= how == "move"
        turned = np.where(moved, turned, turned * FAINT)
        turned = np.fmax(turned, sequences.severity(SWAP + (partners + evidence.doubt(each, labels)) / 2, SWAP))
    columns = [np.array(column) for column in zip(*found)] if found else [np.array([]) for _ in range(6)]
    kinds = (object, np.int64, np.int64, np.int64, np.int64, float)
    columns = [column.astype(kind) for column, kind in zip(columns, kinds)]
    return Found(*columns, path, sequences.severity(level, LABEL), turned)


def _against(log: np.ndarray, labels: np.ndarray, nats: np.ndarray) -> np.ndarray:
    """Log-probabilities (M, C) with so many nats (M,) more for the labels as given."""
    log = log.copy()
    log[np.arange(len(labels)), labels] += nats
    return log


def tables(run: Run, seen: dict[str, np.ndarray]) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """The tables `FRAMES` and `SPANS` of a run's `timeline`, and what run.json says of the evidence, see `_facts`.

    What new videos are compared with, the videos that their networks were trained on, comes along with the timeline
    (`reference.labels` and the like), and is looked at with them: one video has no grammar.
    """
    ids = seen["samples"]
    samples = run.samples().set_index("sample").loc[ids]
    index = {label: at for at, label in enumerate(run.classes)}
    labels = samples["label"].map(index).to_numpy(np.int64)
    names, numbers = samples["sequence"].to_numpy(object), samples["frame"].to_numpy(np.int64)
    bounds = sequences.bounds_of(names)
    together = judged(seen, labels, bounds)
    found = _among(labels, bounds, seen, together)
    classes = np.array(run.classes, object)
    place = numbers.copy()
    for how, start, middle, stop in zip(found.how, found.start, found.middle, found.stop):
        if how == "move":  # the second block belongs where the first begins
            place[start:stop] = np.r_[numbers[start + stop - middle : stop], numbers[start : start + stop - middle]]
    frames = pd.DataFrame(
        {
            "sample": ids,
            "sequence": names,
            "frame": numbers,
            "split": samples["split"].to_numpy(object),
            "label": samples["label"].to_numpy(object),
            "suggested_label": classes[found.path],
            "suggested_frame": place,
            "p_given": seen["probabilities"][np.arange(len(labels)), labels],
            "frame_csl": _frame_csl(run, seen, labels),
            "temporal_csl": seen["losses"].mean(0),
            "sequence_label": found.label_severity,
            "sequence_order": found.order_severity,
        }
    )
    relabel = found.how == "relabel"
    kind = np.where(relabel, "sequence_label", "sequence_order")
    last = found.stop - 1
    least = [int(ids[start:stop].min()) for start, stop in zip(found.start, found.stop)]
    given = [labels[a : m if m > 0 else b] for a, m, b in zip(found.start, found.middle, found.stop)]
    second = [labels[m:b] if m > 0 else np.array([label]) for m, b, label in zip(found.middle, found.stop, found.label)]
    spans = pd.DataFrame(
        {
            "span": [f"{one}:{sample}" for one, sample in zip(kind, least)],
            "kind": kind,
            "how": found.how,
            "sequence": names[found.start],
            "start": numbers[found.start],
            "middle": pd.array(np.where(relabel, -1, numbers[found.middle]), "Int64"),
            "end": numbers[last],
            "frames": found.stop - found.start,
            "severity": found.severity,
            "label": [classes[np.bincount(one).argmax()] for one in given],
            "suggested_label": [classes[np.bincount(one).argmax()] for one in second],
        }
    )
    spans["middle"] = spans["middle"].mask(relabel)
    spans = spans.sort_values(["severity", "span"], ascending=[False, True], ignore_index=True)
    return frames, spans, {} if together is None else {"video": _facts(together, seen, bounds)}


def _facts(together: Judged, seen: dict[str, np.ndarray], bounds: np.ndarray) -> dict:
    """How far the evidence is to be trusted, by the trial: AUROC of held-out judges, of those within and of all by kind
    of error (None: unknown), and of how many errors made on purpose how many were found as spans."""
    trial, trained = together.trial, together.trained
    inner = sequences.bounds_of(np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))[trained])
    line = Timeline(together.of_trial, seen["thumbs"][trained], together.stated[trained])
    found = find(trial.labels, inner, line)
    edges = sequences.bounds_of(np.repeat(np.arange(len(inner) - 1), np.diff(inner)) * 4 + trial.kind)
    start, stop = (ends[trial.kind[edges[:-1]] > 0] for ends in (edges[:-1], edges[1:]))
    hit, _ = sequences.matched(found.start, found.stop, start, stop)
    kind = trial.kind[start]
    counts = [[int(hit[kind == at].sum()), int((kind == at).sum())] for at in range(1, len(evidence.KINDS) + 1)]
    return {
        "worth": {
            name: [None if np.isnan(one) else round(float(one), 3) for one in row]
            for name, row in zip(("held_out", "within", "all"), together.worth)
        },
        "trial": dict(zip(evidence.KINDS, counts)),
        "held_out_share": round(together.held_out, 3),
        "window": together.width,
        "stated": round(float(together.stated[trained].mean()), 3),
        "epochs": int(seen["within.epochs"][0]),
    }


def _among(labels: np.ndarray, bounds: np.ndarray, seen: dict[str, np.ndarray], together: Judged | None) -> Found:
    """`find` of the run's own frames, among those of the reference where there is one."""
    if "reference.labels" not in seen:
        if together is not None:
            return find(labels, bounds, Timeline(together.log, seen["thumbs"], together.stated))
        return find(labels, bounds, Timeline(sequences.logs(seen["probabilities"]), seen["thumbs"]))
    both = (np.concatenate([seen[name], seen[f"reference.{name}"]]) for name in ("probabilities", "thumbs"))
    line = Timeline(*(change(one) for change, one in zip((sequences.logs, np.asarray), both)))
    more = seen["reference.bounds"][1:] + bounds[-1]
    found = find(np.r_[labels, seen["reference.labels"]], np.r_[bounds, more], line)
    mine, rows = found.start < len(labels), slice(len(labels))
    spans = {name: getattr(found, name)[mine] for name in ("how", "start", "middle", "stop", "label", "severity")}
    return Found(**spans, **{name: getattr(found, name)[rows] for name in ("path", "label_severity", "order_severity")})


def _frame_csl(run: Run, seen: dict[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
    """CSL (M,) of the judge of single frames: of folds on the training samples, of the run itself on the rest.

    Of frozen features there are no checkpoints of folds: the loss by the heads that did not see the video.
    """
    if "within.single.trial" in seen and "plain.heads" not in seen:
        return -seen["looks"][np.arange(len(labels)), labels]
    folds = [fold.trajectory("train", losses_only=True) for fold in run.members("fold")]
    found = {}
    for split in SPLITS:
        parts = folds if split == "train" and folds else [run.trajectory(split, losses_only=True)]
        losses = [part.losses[part.checkpoints > 0] for part in parts]
        known = np.isfinite(np.stack(losses))
        total = np.where(known, losses, 0).sum((0, 1)) / np.maximum(known.sum((0, 1)), 1)
        found.update(zip(parts[0].samples.tolist(), np.where(known.any((0, 1)), total, np.nan).tolist()))
    return pd.Series(found, dtype=float).reindex(seen["samples"]).to_numpy()
