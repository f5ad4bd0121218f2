"""Samples that somebody picked: the finding that a decision on each answers, and queues of them for Review."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.shared import trust
from lossprint.app.shared.sample import PICKED
from lossprint.audit.review import ids as texts
from lossprint.audit.types import ALONE, LossprintError

QUEUE = "Picked"
AGAIN = "Ask again"  # samples on which one more vote would tell most
SENT = "Sent: "  # before the name of a queue that somebody sent
MOST = 500  # samples of a queue whose ids stand in the link
KEPT, LONGEST = "_picked", 10_000  # characters of a link


def names(loaded: data.Loaded, ids) -> pd.DataFrame:
    """A row a sample, in order: sample, group (the finding that a decision answers), suggested_label.

    That is the most severe finding on the sample alone; of any other sample it is `pick:SAMPLE`, as somebody picked it.
    """
    ids = np.asarray(ids, np.int64)
    rows = loaded.findings[loaded.findings["kind"].isin(ALONE)]
    rows = rows[np.isin(rows["sample"].to_numpy(), ids)]
    rows = rows.sort_values("severity", ascending=False, kind="stable").drop_duplicates("sample").set_index("sample")
    rows = rows[["group", "suggested_label"]].astype(object).reindex(ids)
    group = [name if isinstance(name, str) else f"{PICKED}:{one}" for one, name in zip(ids.tolist(), rows["group"])]
    suggested = [label if isinstance(label, str) else None for label in rows["suggested_label"]]
    return pd.DataFrame({"sample": ids, "group": group, "suggested_label": pd.Series(suggested, dtype=object)})


def read(link: str, known: pd.Index) -> list[int]:
    """The ids of a link that the run has, at most `MOST`; what is none is passed over."""
    ids: list[int] = []
    for span in link.split(".")[:MOST]:
        first, _, last = span.partition("-")
        last = last or first
        if not all(one.isascii() and one.isdigit() and len(one) < 16 for one in (first, last)):
            continue
        ids += range(int(first), min(int(last), int(first) + MOST) + 1)
    ids = list(dict.fromkeys(ids))[:MOST]
    return [one for one in ids if one in known]


def text(ids) -> str:
    """Ids as they stand in a link that `read` reads."""
    return texts.write(np.unique(np.asarray(ids, np.int64)))


def of_link(loaded: data.Loaded) -> list[int]:
    """The samples that the link names, or that one named earlier in this session, of this run."""
    link = st.query_params.get("picked")
    if link:
        st.session_state[KEPT] = (loaded.key[0], link[:LONGEST])
    run, link = st.session_state.get(KEPT, ("", ""))
    return read(link, loaded.samples.index) if run == loaded.key[0] else []


def queues(loaded: data.Loaded) -> list[str]:
    """The queues that were sent to Review, the latest first, as Review names them; `AGAIN` where there are votes."""
    kept = sorted(data.marks(loaded).state().queues.values(), key=lambda one: one.at, reverse=True)
    return [SENT + one.name for one in kept] + [AGAIN] * bool(len(again(loaded)))


def again(loaded: data.Loaded) -> np.ndarray:
    """The samples with counted votes that one more vote tells most about first (ActiveLab), at most `MOST`."""
    try:
        counted = trust.voted(loaded)
    except LossprintError:  # the page of votes says what is wrong
        return np.empty(0, np.int64)
    if counted is None:
        return np.empty(0, np.int64)
    table = counted.consensus.sort_values("again", kind="stable")
    ids = table["sample"].to_numpy(np.int64)
    return ids[np.isin(ids, loaded.samples.index.to_numpy())][:MOST]


def asked(loaded: data.Loaded, which: str) -> list[int]:
    """The samples of a queue, of `QUEUE` or of one that was sent, in the order in which they are asked about."""
    if which == QUEUE:
        return of_link(loaded)
    if which == AGAIN:
        return again(loaded).tolist()
    kept = data.marks(loaded).state().queues.values()
    ids = next((one.samples for one in kept if SENT + one.name == which), np.empty(0, np.int64))
    return ids[np.isin(ids, loaded.samples.index.to_numpy())].tolist()


def items(loaded: data.Loaded, ids: list[int]) -> pd.DataFrame:
    """A question a sample, in this order, with the columns of `queues.items`."""
    table = names(loaded, ids)
    kind = table["group"].str.partition(":")[0]
    frame = pd.DataFrame({"group": table["group"].astype(object), "kind": kind.astype(object)})
    samples = pd.Series([[one] for one in ids], dtype=object)
    return frame.assign(samples=samples, suggested_label=table["suggested_label"], severity=np.nan, tier="verify")
