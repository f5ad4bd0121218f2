"""Trajectories: how did the model take to one sample, and why is it flagged?"""

import pandas as pd
import streamlit as st

from lossprint.app import charts, data, decide, detail, parts
from lossprint.audit.types import SCORES


def render(loaded: data.Loaded) -> None:
    parts.header("Trajectories", "How did the model take to one sample, beside the others of its class?")
    able = [name for name in SCORES if name in loaded.scores and loaded.scores[name].notna().any()]
    search, left, right = st.columns([4, 3, 3], gap="medium", vertical_alignment="bottom")
    with search:
        sample = parts.choose_sample(loaded, default_sample(loaded))
    if len(able) < 2:
        st.caption("Fewer than two scores are known in this run, so there is no map of them.")
    else:
        with left:
            x = st.selectbox(
                "Across", able, index=_at(able, "csl", 0), key="x", format_func=_title, bind="query-params"
            )
        with right:
            y = st.selectbox(
                "Up", able, index=_at(able, "curvature", 1), key="y", format_func=_title, bind="query-params"
            )
    if sample is None:
        parts.empty("No samples", "This run holds no training samples.", "search_off")
        return
    if len(able) >= 2:
        map_side, story_side = st.columns([1, 1], gap="large")
        with map_side:
            _map(loaded, x, y, sample)
    else:
        story_side = st.container()
    with story_side:
        _story(loaded, sample)
    _evidence(loaded, sample)


def default_sample(loaded: data.Loaded) -> int | None:
    """Where nobody chose: the most suspicious label, else the sample with the highest mean loss, else the first."""
    found = loaded.of_kind("label_error")
    if len(found):
        return int(found["sample"].iloc[0])
    if "csl" in loaded.scores and loaded.scores["csl"].notna().any():
        return int(loaded.scores["csl"].idxmax())
    return int(loaded.samples.index[0]) if len(loaded.samples) else None


def _at(names: list[str], wanted: str, otherwise: int) -> int:
    return names.index(wanted) if wanted in names else otherwise


def _title(name: str) -> str:
    return SCORES[name].title


def _axis(name: str) -> str:
    return f"{SCORES[name].title} ({SCORES[name].unit})"


def _map(loaded: data.Loaded, x: str, y: str, sample: int) -> None:
    frame = loaded.scores[["sample", "label"]].assign(**{name: loaded.scores[name] for name in {x, y}})
    frame["flag"] = frame["sample"].isin(loaded.of_kind("label_error")["sample"])
    figure = charts.scatter(frame, x, y, titles=(_axis(x), _axis(y)), dark=parts.dark(), chosen=sample)
    key = "map"

    def picked() -> None:
        points = st.session_state[key]["selection"]["points"]
        if points and "customdata" in points[0]:
            custom = points[0]["customdata"]
            parts.choose(int(custom[0] if isinstance(custom, list) else custom))

    st.plotly_chart(
        figure,
        key=key,
        on_select=picked,
        selection_mode="points",
        theme=None,
        config=parts.CHART,
        alt=f"Each training sample by {_title(x)} and {_title(y)}",
    )
    st.caption("Each point is a training sample. Click one to see its story.")


def _story(loaded: data.Loaded, sample: int) -> None:
    row = loaded.samples.loc[sample]
    # Suggestion and story are about the label: where it is in question, that question is opened.
    found = detail.finding_of(loaded, sample, ("label_error",))
    found = detail.finding_of(loaded, sample) if found is None else found
    suggested = parts.suggestion(loaded, sample) if found is not None else None
    picture, words = st.columns([4, 5], gap="medium")
    with picture:
        parts.big_image(loaded, sample, 260)
    with words:
        st.markdown(f"#### Sample {sample}")
        st.markdown(parts.labels_line(loaded, sample, suggested))
        detail.why(loaded, sample)
        now = decide.decided(loaded).get(sample)
        if now is not None:
            st.markdown(decide.sentence(now))
        st.caption(f"{parts.md(row['path'])} · {parts.SPLITS.get(row['split'], row['split'])}")
        if found is not None:
            parts.link("review", "Decide on it", "rule", {"finding": found["group"]})
    detail.loss_chart(loaded, sample, "story-loss", height=270)


def _evidence(loaded: data.Loaded, sample: int) -> None:
    if loaded.samples.at[sample, "split"] != "train":
        return
    left, right = st.columns([1, 1], gap="large")
    with left:
        st.subheader("Scores within its class", anchor=False)
        detail.scores_chart(loaded, sample, "story-scores")
    with right:
        st.subheader("Validation samples of its class", anchor=False)
        detail.partner_strip(loaded, sample, "class", "story-partners")
        parts.link("pairs", "See their curves", "compare_arrows", {"sample": sample})
    twins = pd.concat([_twins(loaded, "sample", "partner", sample), _twins(loaded, "partner", "sample", sample)])
    if len(twins):
        st.subheader("Its duplicates", anchor=False)
        from lossprint.app.gallery import gallery

        tiles = [
            parts.tile(
                loaded,
                other,
                given=loaded.samples.at[other, "label"],
                title=f"#{other}",
                note=f"{kind} · {parts.SPLITS.get(loaded.samples.at[other, 'split'], '')}",
            )
            for other, kind in zip(twins["other"].astype(int), twins["kind"])
        ]
        gallery(tiles, key="story-twins", label=f"duplicates of sample {sample}", size="small")


def _twins(loaded: data.Loaded, mine: str, theirs: str, sample: int) -> pd.DataFrame:
    pairs = loaded.duplicates
    return pairs[pairs[mine] == sample].rename(columns={theirs: "other"})[["other", "kind"]].head(12)
