"""Outliers: which images are unlike anything else in the dataset?"""

from lossprint.app import browse, data, parts


def render(loaded: data.Loaded) -> None:
    parts.header("Outliers", "Which images are unlike anything else here? Rare and valid, or broken and out of place.")
    if loaded.of_kind("outlier").empty:
        if loaded.has("outlier"):
            parts.empty("No outliers", "No image lies far from all others in the trained network's embedding.")
        else:
            parts.empty("Not looked for", "This run has no embedding of its images, which outliers show in.", "info")
        return
    browse.findings_gallery(loaded, "outlier", prefix="o_", suggestions=False)
