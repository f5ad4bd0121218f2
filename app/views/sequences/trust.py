"""What the Sequences page says where there is little to show: no findings, or no videos; and how sure that is."""

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.scoring.labels import SUSPECT

WORDS = {"window": "windows", "phase": "whole phases", "exchange": "exchanged phases"}
NAMED = 5  # videos that a caption names
LITTLE = 0.2  # of the evidence: a share below it is a step back


def facts_of(loaded: data.Loaded) -> dict:
    """What run.json says of the judges of frames; nothing in runs of earlier versions."""
    return loaded.run.manifest.get("facts", {}).get("score", {}).get("video", {})


def chances(loaded: data.Loaded) -> str:
    """How many errors made on purpose the same evidence found, in a sentence."""
    trial = {kind: counts for kind, counts in facts_of(loaded).get("trial", {}).items() if counts[1]}
    if not trial:
        return ""
    kinds = ", ".join(f"{int(hit)} of {int(of)} {WORDS[kind]}" for kind, (hit, of) in trial.items())
    return f"Of errors made on purpose in a copy of these labels, the same search found {kinds}."


def worth(loaded: data.Loaded) -> None:
    """Who judges the frames here, and how far that is to be trusted."""
    facts = facts_of(loaded)
    if not facts:
        return
    known = [(kind, figure) for kind, figure in zip(WORDS, facts["worth"]["all"]) if figure is not None]
    share = facts["held_out_share"]
    if share < LITTLE:
        who = "The videos are unlike: judges that never saw a video step back, and those that learnt it lead."
    elif share > 1 - LITTLE:
        who = "Judges that never saw a video lead here: what one learns of the videos themselves adds little."
    else:
        who = f"Judges that never saw a video make {share:.0%} of the evidence, those that learnt it the rest."
    figures = ", ".join(f"{figure:.2f} for {WORDS[kind]}" for kind, figure in known)
    told = f" On errors made on purpose in a copy of these labels it reaches an AUROC of {figures}." if known else ""
    st.caption(f"{who}{told} {chances(loaded)}")


def clean(loaded: data.Loaded, videos: data.Videos) -> None:
    """Nothing was found, and how near to it the videos came."""
    severity = float(videos.frames[["sequence_label", "sequence_order"]].max(axis=None))
    near = f"a finding begins at a severity of {SUSPECT:.2f}, and the highest here is {severity:.2f}"
    if severity > SUSPECT:
        near = "frames stand out here and there, but no span of them whose labels or place another would fit better"
    text = f"No span of frames in {parts.plural(len(videos.rows), 'video')} is suspicious: {near}."
    chance = chances(loaded)
    parts.empty("Nothing found", f"{text} {chance}" if chance else text)


def quiet(loaded: data.Loaded, videos: data.Videos, names: list[str]) -> None:
    """How near to a finding those of the videos `names` came that have none, and how much that says."""
    with_some = set(videos.spans["sequence"])
    frames = videos.frames[["sequence_label", "sequence_order"]].max(axis=1)
    worst = {name: float(frames.iloc[videos.rows[name]].max()) for name in names if name not in with_some}
    if not worst or not with_some:
        return
    top = sorted(worst, key=worst.get, reverse=True)[:NAMED]
    named = ", ".join(f"{parts.md(name)} {worst[name]:.2f}" for name in top)
    more = f"; {len(worst) - NAMED} more below them" if len(worst) > NAMED else ""
    sure = " How much that says, the errors made on purpose tell, above." if chances(loaded) else ""
    st.caption(
        f"Videos without a finding, which is a span that stays above a severity of {SUSPECT:.2f}, with that of their "
        f"most suspicious frame: {named}{more}.{sure}"
    )


def nothing(loaded: data.Loaded) -> None:
    if (loaded.run.path / "timeline.safetensors").exists():
        text = "The videos were looked at, and the findings are missing: run `lossprint score` on this run's folder."
    elif "sequence" in loaded.samples and loaded.samples["sequence"].notna().any():
        text = (
            "The run has video frames, but nothing was looked at over time. That takes at least two training videos "
            "with a number for each frame, and an audit by this version of Lossprint: run `lossprint audit` again."
        )
    else:
        text = (
            "This dataset has no video frames. A manifest with the columns `sequence` and `frame` names the video of "
            "each image and its number in it; a CSV of segments (`sequence,start,end,label`) beside video files "
            "does as well. An example: `lossprint demo --video`"
        )
    parts.empty("No videos here", text, "movie")
