"""Folders below a dataset that hold no samples, or whose names say that they are no classes: passed over, or told."""

import fnmatch
import re
from collections import Counter

from lossprint.audit.words import some

# What systems and stores leave beside images: previews, forks, deleted files.
JUNK = {"@eadir", "__macosx", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "system volume information"}
# What lies beside images and is none of the samples.
BESIDE = {
    *("mask", "masks", "annotation", "annotations", "label", "labels", "segmentation", "segmentations", "groundtruth"),
    *("ground_truth", "gt", "bbox", "bboxes", "depth", "edges", "contours", "heatmaps", "overlays", "xml", "json"),
    *("thumb", "thumbs", "thumbnail", "thumbnails", "preview", "previews", "cache", "small", "backup", "augmented"),
}
WHOLE = {"image", "images", "img", "imgs", "jpg", "jpegs", "jpegimages", "jpeg", "png", "rgb", "photos", "raw", "data"}
PART = re.compile(
    r"(?:(?:fold|split|part|batch|set|subset|chunk|shard|cv|k|run|group)[ _.-]*)(?:[0-9]+|[a-z])", re.IGNORECASE
)
MOST = 5  # names in a note


def left_out(paths: list[str], patterns: str | None) -> tuple[list[str], list[str]]:
    """The paths of files that count, and notes on those that lie in folders of systems or in those to be left out.

    patterns: names of folders, separated by commas, in which * stands for anything.
    """
    wanted = [one.strip().lower() for one in (patterns or "").split(",") if one.strip()]
    kept, junk, excluded = [], [], []
    for path in paths:
        folders = path.lower().split("/")[:-1]
        if any(folder in JUNK for folder in folders):
            junk.append(path)
        elif wanted and any(fnmatch.fnmatchcase(folder, one) for folder in folders for one in wanted):
            excluded.append(path)
        else:
            kept.append(path)
    notes = []
    if junk:
        names = some(sorted({part for path in junk for part in path.split("/")[:-1] if part.lower() in JUNK}))
        notes.append(f"passed over, because in folders of a system ({names}): {len(junk):,} files, such as {junk[0]}")
    if excluded:
        notes.append(f"left out, because of --exclude {patterns}: {len(excluded):,} files, such as {excluded[0]}")
    elif wanted:
        notes.append(f"no file lies in a folder that --exclude {patterns} names")
    return kept, notes


def doubts(placed: list[str], labels: list[str], depth: int) -> list[str]:
    """Notes on images (N,) whose folders look as if they were something else than classes. depth: of a class folder."""
    notes = [*_repeated(placed, labels, depth), *_parts(labels)]
    names = sorted({label for label in labels if label.lower() in BESIDE})
    if names:
        counts = Counter(labels)
        sizes = some(f"{name!r} ({counts[name]:,})" for name in names)
        notes.append(
            f"class folders whose names are of what lies beside images: {sizes}: taken as classes; --exclude "
            f"{names[0]} leaves one out"
        )
    return notes


def _repeated(placed: list[str], labels: list[str], depth: int) -> list[str]:
    """A note where the same folders lie under each class: masks, sizes, folds, or the classes themselves."""
    below: dict[str, Counter] = {}  # folder -> images of each class in it
    loose: Counter = Counter()
    for path, label in zip(placed, labels):
        parts = path.split("/")
        if len(parts) > depth + 1:
            below.setdefault(parts[depth], Counter())[label] += 1
        else:
            loose[label] += 1
    classes = set(labels)
    shared = {name: counts for name, counts in below.items() if len(counts) >= max(2, len(classes) / 2)}
    if not shared or (len(shared) == 1 and not loose and next(iter(shared)).lower() not in BESIDE):
        return []  # one folder more on the way to all images, such as images/
    if len(shared) == 1 and len(loose) < 2 and next(iter(shared)).lower() not in BESIDE:
        return []
    sizes = some((f"{name} ({counts.total():,})" for name, counts in sorted(shared.items())), MOST)
    beside = f", beside {loose.total():,} images in none" if loose else ""
    aside = [name for name in sorted(shared) if name.lower() in BESIDE]
    other = [name for name in sorted(shared) if name.lower() not in WHOLE]
    example = (aside or other or sorted(shared))[0]
    return [
        f"the same folders lie under {len(classes):,} classes: {sizes}{beside}: all their images are taken as samples "
        f"of the class above them; --exclude {example} leaves a folder out, and a manifest says what the classes are"
    ]


def _parts(labels: list[str]) -> list[str]:
    """A note where all classes are called as parts of a dataset are."""
    names = sorted(set(labels))
    if len(names) < 2 or not all(PART.fullmatch(name) for name in names):
        return []
    return [
        f"class folders that look like parts of a dataset: {some(names, MOST)}: taken as classes; a manifest says what "
        "the classes are"
    ]
