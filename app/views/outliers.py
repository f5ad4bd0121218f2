"""Outliers: which images are unlike anything else in the dataset?"""

from lossprint.app import data
from lossprint.app.shared import browse, parts


def render(loaded: data.Loaded) -> None:
    question = "Which images are unlike anything else here? Rare and valid, or broken and out of place."
    parts.header("Outliers", loaded.media.worded(question))
    if loaded.of_kind("outlier").empty:
        if loaded.has("outlier"):
            parts.empty("No outliers", "No image lies far from all others in the trained network's embedding.")
        else:
            text = f"This run has no embedding of its {loaded.noun}s, which outliers show in."
            parts.empty("Not looked for", text, "info")
        return
    browse.findings_gallery(loaded, "outlier", prefix="o_", suggestions=False)
