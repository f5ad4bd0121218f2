"""Mislabeled: which given labels are probably wrong, most severe first?"""

from lossprint.app import browse, data, parts


def render(loaded: data.Loaded) -> None:
    parts.header(
        "Mislabeled", "Which given labels are probably wrong? Most severe first, with the label the model preferred."
    )
    if loaded.of_kind("label_error").empty:
        parts.empty(
            "No suspicious labels",
            "The model came to agree with every given label. Errors that it learned as if right stay invisible.",
        )
        return
    browse.findings_gallery(loaded, "label_error")
