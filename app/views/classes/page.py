"""Classes: how is each class doing, and what is it mixed up with?"""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, parts, trust
from lossprint.app.views.classes import charts, health, subgroups
from lossprint.app.views.classes.health import Health
from lossprint.audit.datasets.media import IMAGES, TEXTS
from lossprint.audit.review import wrong_labels

PICTURES = 24  # classes up to which the table shows thumbnails
SHOWN = 9  # samples of each kind in the detail: a row at full width
TABLE, CLASS = "classes-table", "class"
ESTIMATE = {
    "wrong": "How many labels are wrong is an **estimate**, given as a range, from the model's own probabilities of "
    "the *flagged* ones: at least by how much it preferred the other label, at most by how sure it was of that label "
    "against what that class usually gets. In all, it is that of the answers once there are enough.",
    "flagged": "How many labels are wrong is an **estimate**: the samples whose given label stayed unlikely. This run "
    "has no triage, so nothing separates the wrong from the hard ones: read it as an upper limit.",
}
OVER_TIME = (
    "How many labels are wrong is an **estimate**: of video frames those in spans that the model over time, trained "
    "without the video, would label otherwise. Blocks that only changed places count as right."
)
MEASURED = (
    "Nobody has looked at these labels yet. Two datasets whose errors are known: of the embedded demo's 403 flagged "
    "labels 211 are wrong, and the range was 136 to 393; of 790 flagged labels that one person gave to CIFAR-10 489 "
    "are, and it was 46 to 735. The less a network has learned, the wider. Errors made consistently, which the "
    "network learns as if right, are in neither."
)
KINDS = {
    "suspicious": ("Most suspicious", "Flagged: another label was ahead of the given one.", "None is flagged."),
    "hard": (
        "Hardest that are not flagged",
        "The highest mean loss, yet the given label held: rare or poor samples, or the edge of the class.",
        "None: no losses, or all of them are flagged.",
    ),
    "typical": (
        "Most typical",
        "Learned early and in step with the validation samples of the class: what the model takes it to look like.",
        "None: no losses, or all of them are flagged.",
    ),
}


def render(loaded: data.Loaded) -> None:
    parts.header("Classes", "How is each class doing, and what is it mixed up with?")
    if not loaded.classes:
        parts.empty("No classes", "This dataset names no classes. Check its labels and audit it again.", "category")
        return
    if not loaded.labelled:
        parts.empty(
            "No classes",
            f"The {loaded.noun}s of this run have no labels, so there are no classes to compare. **Loss prints** and "
            "the **Triage map** show them all.",
            "category",
        )
        return
    trust.warn(loaded)
    parts.dead_link(CLASS, loaded.classes, "class")
    found = data.derived(loaded, _health)
    _headline(loaded, found)
    _added(loaded)
    # The worst first: it is what the page is for, and what is shown where nobody chose.
    table = found.table.sort_values(["noise", "csl"], ascending=False, kind="stable", na_position="last")
    names = list(table.index)

    def opened() -> None:
        rows = st.session_state[TABLE]["selection"]["rows"]
        if rows:
            st.session_state[CLASS] = names[rows[0]]

    def chosen() -> None:
        """The box in the table goes with the choice."""
        st.session_state[TABLE] = {"selection": {"rows": [names.index(st.session_state[CLASS])], "columns": []}}

    _table(loaded, table, found.basis, opened)
    label = st.selectbox(
        "Class",
        names,
        key=CLASS,
        bind="query-params",
        on_change=chosen,
        help="The class shown below. It is in the URL: copy it to show a colleague.",
    )
    _detail(loaded, found, label)
    subgroups.render(loaded)


def _added(loaded: data.Loaded) -> None:
    """The classes that reviewers added, and how many samples each has as decided."""
    names = decide.labels(loaded)[len(loaded.classes) :]
    if names:
        labels = data.reviews(loaded).current()["new_label"].value_counts().reindex(names, fill_value=0)
        told = [f"**{parts.md(name)}** ({parts.plural(int(labels[name]), 'sample')})" for name in names[:20]]
        more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
        st.info(f"Added by reviewers, not in the dataset: {', '.join(told)}{more}.", icon=":material/new_label:")


def _health(loaded: data.Loaded) -> Health:
    found = health.class_health(loaded.samples, data.derived(loaded, _scores), loaded.classes, _right(loaded))
    ranges = {} if data.videos(loaded) is not None else wrong_labels.by_class(loaded.run)
    about = wrong_labels.wrong_labels(loaded.run)
    return health.with_ranges(found, ranges, (about.low, about.high)) if ranges and about is not None else found


def _scores(loaded: data.Loaded) -> pd.DataFrame:
    """The scores; of video frames with what was found of stretches of them."""
    videos = data.videos(loaded)
    if videos is None:
        return loaded.scores
    return health.over_time(loaded.scores, videos.frames["sample"].to_numpy(), loaded.findings)


def _right(loaded: data.Loaded) -> np.ndarray | None:
    """The accuracy of each class on validation samples at the last checkpoint; None where no prediction is recorded."""
    recorded = loaded.run.recorded("val")
    if not recorded:
        return None
    part = loaded.run.part("val", recorded[-1])
    labels = loaded.samples["label"].reindex(part["sample"].to_numpy())
    right = health.accuracy(part["predicted"].to_numpy(), health.codes(labels, loaded.classes), len(loaded.classes))
    return None if np.isnan(right).all() else right


def _confusions(loaded: data.Loaded) -> pd.DataFrame:
    return health.confusions(data.derived(loaded, _scores), loaded.classes)


def _picks(loaded: data.Loaded, label: str) -> dict[str, list[int]]:
    return health.picks(data.derived(loaded, _scores), loaded.classes, label, SHOWN)


# ---------------------------------------------------------------------------------------------- all classes


def _headline(loaded: data.Loaded, found: Health) -> None:
    table = found.table
    facts = []
    if found.basis is not None:
        least, most = int(table[found.basis].sum()), int(table["flagged"].sum())
        number = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        about = None if data.videos(loaded) is not None else trust.wrong(loaded)
        number = f"{number} ({_range(*found.total)})" if about is None else wrong_labels.span(about)
        facts.append(("Labels probably wrong (estimate)", number))
        if table["noise"].max() > 0:
            name = table["noise"].idxmax()
            facts.append(("Least certain class", f"{_cut(name)} {_range(*table.loc[name, ['noise', 'noise_most']])}"))
    pairs = data.derived(loaded, _confusions)
    if len(pairs):
        first = pairs.iloc[0]
        facts.append(("Most frequent confusion", f"{_cut(first['given'])} → {_cut(first['suggested'])}"))
    if table["accuracy"].notna().any():
        name = table["accuracy"].idxmin()
        facts.append(("Lowest validation accuracy", f"{_cut(name)} {_percent(table.at[name, 'accuracy'])}"))
    if facts:
        grid = st.grid(len(facts), min_column_width=160, gap="small")
        for label, value in facts:
            with grid.cell(), st.container(border=True, gap="xxsmall", height="stretch"):
                st.caption(label)
                st.markdown(f"**{parts.md(value)}**")
    if found.basis is None:
        st.info(
            "No loss of this run tells whether a label fits, so the classes have sizes only.", icon=":material/info:"
        )
        return
    if data.videos(loaded) is not None:
        st.caption(OVER_TIME)
    else:
        st.caption(ESTIMATE[found.basis], help=MEASURED)


def _table(loaded: data.Loaded, table: pd.DataFrame, basis: str | None, opened) -> None:
    shown = pd.DataFrame({"class": table.index.astype(str)})
    config: dict = {"class": st.column_config.TextColumn("Class", pinned=True, width=110)}
    top = max(5.0, 100 * float(table["noise_most"].max())) if table["noise"].notna().any() else 0.0
    for column, title, meaning in (
        ("noise", "Wrong, at least", "The lower end of its estimated noise"),
        ("noise_most", "Wrong, at most", "The upper end of its estimated noise, of those that are flagged"),
    ):
        if top and (basis == "wrong" or column == "noise_most"):
            shown[column] = 100 * table[column].to_numpy()
            config[column] = st.column_config.ProgressColumn(
                title, min_value=0, max_value=top, format="%.1f %%", width=105, color="orange", help=meaning
            )
    pictures = len(table) <= PICTURES and len(loaded.scores) > 0
    tall = 56 if pictures and loaded.media is IMAGES else 35
    if pictures:
        for kind, title in (("suspicious", "Suspicious"), ("hard", "Hard")):
            shown[kind] = [_picture(loaded, name, kind) for name in table.index]
            told = f"{KINDS[kind][0]} sample of the class"
            if loaded.media is TEXTS:
                config[kind] = st.column_config.TextColumn(title, width=200, help=told)
            else:
                config[kind] = st.column_config.ImageColumn(title, width=74, help=told)
    if table["accuracy"].notna().any():
        shown["accuracy"] = 100 * table["accuracy"].to_numpy()
        config["accuracy"] = st.column_config.ProgressColumn(
            "Val. accuracy", min_value=0, max_value=100, format="%.1f %%", width=110, color="blue"
        )
    for column, title, help_ in (
        ("goes_to", "Looks like", "The label most often suggested for its flagged samples, and for how many"),
        ("comes_from", "Hides in", "The given label under which most samples that look like this class were flagged"),
    ):
        if table[f"{column}_count"].any():
            shown[column] = [
                f"{name} ({count:,})" if count else "" for name, count in zip(table[column], table[f"{column}_count"])
            ]
            config[column] = st.column_config.TextColumn(title, help=help_, width=112)
    if table["csl"].notna().any():
        shown["csl"] = table["csl"].to_numpy()
        config["csl"] = st.column_config.NumberColumn(
            "Mean CSL", format="%.3f", width=70, help="Mean over its training samples, in nats. High: hard to learn."
        )
    for split, title in (("train", "Train"), ("val", "Val"), ("test", "Test")):
        shown[split] = table[split].to_numpy()
        config[split] = st.column_config.NumberColumn(title, format="localized", width=60)
    st.dataframe(
        shown,
        hide_index=True,
        column_config=config,
        key=TABLE,
        on_select=opened,
        selection_mode="single-row",
        row_height=tall,
        height=min(460, 38 + tall * len(shown) + 3),
        placeholder="–",
        alt="All classes with their estimated noise, accuracy, confusions and sizes",
    )
    st.caption("Click a heading to sort, and the box at the left of a row to open the class below.")


def _picture(loaded: data.Loaded, label: str, kind: str) -> str | None:
    found = data.derived(loaded, _picks, label)[kind]
    picture = data.thumb(loaded, found[0]) if found else None
    if picture and picture.turns:
        return " ".join(said for _, said in picture.turns)[:140]
    return picture.uri if picture else None


# ---------------------------------------------------------------------------------------------- one class


def _detail(loaded: data.Loaded, found: Health, label: str) -> None:
    row = found.table.loc[label]
    st.subheader(parts.md(label), anchor=False)
    st.markdown(_sentence(found, label, row, single=data.videos(loaded) is None))
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Mixed up with**")
        _partners(loaded, label)
    with right:
        st.markdown("**How its loss went**")
        _losses(loaded, label)
    kinds = data.derived(loaded, _picks, label)
    decided = decide.decided(loaded)
    told = []
    for kind, (title, meaning, none) in KINDS.items():
        st.markdown(f"**{title}**")
        st.caption(meaning if kinds[kind] else none)
        if not kinds[kind]:
            continue
        tiles = [_tile(loaded, sample, kind, decided) for sample in kinds[kind]]
        told += tiles
        gallery(
            tiles,
            key=f"class-{kind}",
            label=f"{title} of {label}",
            size="small",
            selected=drawer.opened(),
            on_open=drawer.show,
        )
    parts.tell_missing(told)
    drawer.draw(loaded, list(dict.fromkeys(sample for samples in kinds.values() for sample in samples)), ())


def _sentence(found: Health, label: str, row: pd.Series, single: bool = True) -> str:
    """Markdown: the class in numbers, and when to distrust them. `single`: the estimate comes from single images."""
    sizes = ", ".join(f"{row[split]:,} {word}" for split, word in parts.SPLITS.items() if row[split])
    said = [f"{sizes or 'No'} samples."]
    if not row["train"]:
        return f"{said[0]} Without training samples it has no scores."
    if found.basis is not None and pd.notna(row["noise"]):
        said.append(
            f"Of its training labels **{_range(row['noise'], row['noise_most'])}** are probably wrong, against "
            f"{_range(*found.total)} over all classes (an estimate)."
        )
    if pd.notna(row["accuracy"]):
        said.append(f"Of its validation samples {_percent(row['accuracy'])} are recognised.")
        if single and row["accuracy"] < 0.8 and row["noise_most"] > 0:
            said.append("The network itself mixes this class up, so the estimate says little about it.")
    if pd.notna(row["csl"]):
        said.append(f"Mean CSL {row['csl']:.3f} nats.")
    if 0 < row["val"] < 10:
        said.append("With fewer than 10 validation samples its accuracy and loss are noisy.")
    return parts.md(said[0]) + " " + " ".join(said[1:])


def _partners(loaded: data.Loaded, label: str) -> None:
    pairs = data.derived(loaded, _confusions)
    out = pairs[pairs["given"] == label].set_index("suggested")["count"]
    into = pairs[pairs["suggested"] == label].set_index("given")["count"]
    flagged = int(data.derived(loaded, _health).table.at[label, "flagged"])
    if len(out) or len(into):
        figure = charts.partners(out, into, label=label, dark=parts.dark())
        parts.chart(figure, f"Labels that {label} is mixed up with, in both directions", "class-partners")
    else:
        st.caption("No other label was suggested for its samples, nor it for the samples of others.")
    if data.videos(loaded) is not None and loaded.of_kind("label_error").empty:
        if flagged or len(into):
            parts.link("sequences", "The spans in Sequences", "movie")
        return
    if flagged:
        parts.link("labels", f"{parts.plural(flagged, 'flagged sample')} of this class", "label_off", {"given": label})
    if len(out):
        other = out.idxmax()
        parts.link(
            "labels",
            f"Given {parts.md(_cut(label))}, looks like {parts.md(_cut(other))}: {out.max():,}",
            "arrow_forward",
            {"given": label, "suggested": other},
        )
    if len(into):
        other = into.idxmax()
        parts.link(
            "labels",
            f"Given {parts.md(_cut(other))}, looks like {parts.md(_cut(label))}: {into.max():,}",
            "arrow_back",
            {"given": other, "suggested": label},
        )


def _losses(loaded: data.Loaded, label: str) -> None:
    found = data.bands(loaded)
    if found is None or label not in found.mean:
        st.caption("No losses of this class were recorded at each checkpoint.")
        return
    steps = found.checkpoints
    own, low, high = (pd.Series(one[label], steps) for one in (found.mean, found.low, found.high))
    every = pd.Series(np.mean(list(found.mean.values()), axis=0), steps)
    figure = charts.class_losses(own, low, high, every, label=label, dark=parts.dark())
    parts.chart(figure, f"Mean loss of {label} at each checkpoint, beside all classes", "class-losses")
    st.caption(f"On {parts.plural(found.count[label], f'{found.source} sample')} of the class.")


def _tile(loaded: data.Loaded, sample: int, kind: str, decided: dict):
    row = loaded.scores.loc[sample]
    more = {"given": loaded.samples.at[sample, "label"], **decide.badge(decided.get(sample))}
    if kind == "suspicious":
        more |= {"suggested": parts.suggestion(loaded, sample) or "", "bar": float(row["label_error"])}
    else:
        more["note"] = f"CSL {row['csl']:.2f}" if "csl" in row and pd.notna(row["csl"]) else ""
    return parts.tile(loaded, sample, **more)


def _percent(share: float) -> str:
    return "unknown" if pd.isna(share) else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _range(least: float, most: float) -> str:
    """`7.6 to 15.1 %`, or one number where both ends are the same."""
    if pd.isna(least) or round(1000 * least) == round(1000 * most):
        return _percent(least)
    return f"{100 * least:.1f} to {_percent(most)}"


def _cut(name: str, longest: int = 30) -> str:
    name = " ".join(str(name).split())
    return name if len(name) <= longest else name[: longest - 1] + "…"
