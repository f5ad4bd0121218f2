"""Before & after: does the cleaned data train a better model than the given data?"""

import html
from functools import partial

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.shared import decide, parts
from lossprint.app.shared.owners import working
from lossprint.app.views.loop import charts, repaired
from lossprint.audit.comparison import summary
from lossprint.audit.workflow import offered

HOW = """
**Three versions of the training split** train the same network: the labels as *given*, as *cleaned* by the decisions,
and *randomly thinned*: the given labels without as many samples as the decisions exclude, drawn at random within the
classes. If thinning does as well as cleaning, it was not the choice of samples that helped. Where nothing is excluded,
there is nothing to thin.

**The same budget.** All get equally many training steps, the same batch size, learning rate and seeds. A smaller
version is gone through more often.

**The interval** is for other seeds and for other images of the same kind: it holds the difference of the mean accuracy
that one would see then in about 90 % of the cases. It holds 0 as long as chance alone could make the difference.

**Judged by the given labels** of held-out images. Some of those are wrong too, in all likelihood in the same way as in
training, which favours the given labels. Where decisions changed held-out labels, the accuracy by these is told as
well; whoever cleaned those by looking at a model's suggestions favours the cleaned ones.
"""


def _summed(loaded: data.Loaded, _stamp: int | None):
    """The comparison and what it says, anew whenever its file is another one."""
    table = loaded.run.comparison()
    return table, [] if table is None else summary.summaries(table)


def render(loaded: data.Loaded) -> None:
    parts.header("Before & after", "Does the cleaned data train a better model than the given data?")
    table, found = data.derived(loaded, _summed, loaded.run.comparison_stamp())
    if not found:
        _empty(loaded, table)
        repaired.section(loaded)
        return
    with st.container(border=True, gap="small"):
        sizes = ("1.3rem", *("1.05rem",) * (len(found) - 1))
        lines = "".join(
            f'<p style="font-size:{size};line-height:1.45;margin:0 0 .55rem">{html.escape(summary.sentence(one))}</p>'
            for size, one in zip(sizes, found)
        )
        st.html(f'<div class="sentences">{lines}</div>')
        _notes(loaded, table)
        with st.expander("How this is worked out", icon=":material/help:"):
            st.markdown(HOW)
    _figures(loaded, _way(found))
    _measured(table, found[0])
    repaired.section(loaded)


def _empty(loaded: data.Loaded, table: pd.DataFrame | None) -> None:
    if table is None and not decide.decided(loaded):
        parts.empty(
            "Nothing decided yet",
            "Once labels are put right or samples excluded, see here what that does to a model trained on them.",
            "rule",
        )
        parts.link("review", "Start the review", "rule")
        return
    if not loaded.media.trained:
        text = (
            "There is no training of texts built in: export the cleaned labels, train your own model on both, compare."
        )
        parts.empty("Not compared here", text, "model_training")
        parts.link("export", "Export the cleaned labels", "download")
        return
    text = "These two commands train a few networks: start them here, or run them yourself."
    if table is not None:
        text = "The comparison has begun. Its first figures come when each version was trained once."
    parts.empty("Not compared yet", text, "model_training")
    _commands(loaded)


def _commands(loaded: data.Loaded, label: str = "Compare before and after") -> None:
    working.offer(loaded.run.path, label, partial(offered.compared, loaded.run), "loop")


def _notes(loaded: data.Loaded, table: pd.DataFrame) -> None:
    """What is not finished, or has been decided since."""
    first = table.iloc[0]
    planned = int(first["seeds"]) * (3 if first["excluded"] else 2)
    done = len(table[["arm", "seed"]].drop_duplicates())
    if done < planned:
        st.warning(
            f"{done} of {planned} trainings are done: start it again to go on.",
            icon=":material/hourglass_top:",
        )
        _commands(loaded)
    if pd.notna(first["last_review"]):
        newer = int((data.reviews(loaded).history()["id"] > int(first["last_review"])).sum())
        if newer:
            st.info(
                f"{parts.plural(newer, 'decision')} made since {'is' if newer == 1 else 'are'} not in this comparison. "
                "Export and compare again:",
                icon=":material/update:",
            )
            _commands(loaded)


def _way(found: list[summary.Summary]) -> summary.Summary:
    """What the figures show; asked only where there is a choice."""
    if len(found) == 1:
        return found[0]
    names = {
        ("val", "given"): "Validation, given labels",
        ("val", "cleaned"): "Validation, decided labels",
        ("test", "given"): "Test, given labels",
        ("test", "cleaned"): "Test, decided labels",
    }
    options = {names[one.split, one.labels]: one for one in found}
    chosen = st.selectbox("Judged on", list(options), key="judged", bind="query-params", width=280)
    return options[chosen]


def _figures(loaded: data.Loaded, found: summary.Summary) -> None:
    left, right = st.columns(2, gap="large")
    accuracy = found.accuracy
    with left:
        st.subheader("Accuracy", anchor=False)
        st.caption("A dot for each seed, a line at the mean. Thin lines join trainings that began alike.")
        means = ", ".join(f"{summary.NAMES[arm]} {100 * accuracy[arm].mean():.1f} %" for arm in accuracy)
        parts.chart(charts.arms(accuracy, dark=parts.dark()), f"Mean accuracy: {means}", "loop-arms")
    with right:
        st.subheader("By class", anchor=False)
        table = summary.by_class(found, decide.labels(loaded))
        most = charts.MOST
        shown = table
        if len(table) > most:
            shown = table.loc[table["change"].abs().nlargest(most, keep="first").index].sort_values("change")
        few = f" The {most} that change most of {len(table):,}." if len(shown) < len(table) else ""
        st.caption(f"Cleaned minus given, and its range over the seeds.{few} Few images a class: large chance.")
        alt = "Change of accuracy by class in points: " + ", ".join(
            f"{row['class']} {row['change']:+.1f}" for _, row in shown.iloc[::-1].head(12).iterrows()
        )
        parts.chart(charts.by_class(shown, dark=parts.dark()), alt, "loop-classes")


def _measured(table: pd.DataFrame, found: summary.Summary) -> None:
    st.subheader("How it was measured", anchor=False)
    first = table.iloc[0]
    each = table.drop_duplicates(["arm", "seed"])
    sizes = each.groupby("arm", observed=True)["train_samples"].first()
    rows = [
        ("Network", f"{first['model']}, {parts.plural(len(found.seeds), 'seed')} ({', '.join(map(str, found.seeds))})"),
        (
            "Training",
            f"{first['steps']:,} steps of {first['batch']} images ({first['epochs']} epochs of the given data)",
        ),
        ("Training samples", ", ".join(f"{summary.NAMES[arm]} {sizes[arm]:,}" for arm in summary.ARMS if arm in sizes)),
        ("Decisions applied", f"{first['relabelled']:,} relabelled, {first['excluded']:,} excluded in training"),
        ("Cleaned data", str(first["cleaned"])),
        ("Took", f"{each['seconds'].sum() / 60:,.1f} minutes on {first['device']}"),
    ]
    st.markdown("\n".join(f"- **{parts.md(name)}**: {parts.md(value)}" for name, value in rows))
