"""The evidence on a doubted label: what each class looks like, the loss print over both, who pulls against it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements import proof, viewer
from lossprint.app.shared import parts
from lossprint.app.shared.sample import LARGE, large, on_side
from lossprint.audit.words import plural

TYPICAL = 6  # examples of a class that are shown at most
# benchmarks/evidence.py prints these shares, for flagged labels of which the truth is known.
OFTEN = (
    "How far to trust this: where a flagged label was wrong, the samples that pull against it carried the true label "
    "in 62 of 100 cases on the demo, in 53 on photos of flowers and in 17 on CIFAR-10 with labels that people gave; "
    "where it was right, in 6 or 7. What was learned together with a sample tells less: it carries the given label "
    "about as often when that is wrong (47, 53 and 29 of 100) as when it is right (66, 66 and 40)."
)


def typical(loaded: data.Loaded) -> dict[str, tuple[int, ...]]:
    """Of each label some training samples that nothing doubts: from the easiest to middling ones by mean loss.

    Of a class of which all are flagged some of these; through data.derived, once a run.
    """
    samples = loaded.samples[(loaded.samples["split"] == "train").to_numpy(bool)]
    ids = samples.index.to_numpy()
    labels = samples["label"].cat.codes.to_numpy()
    flagged = np.isin(ids, loaded.findings["sample"].to_numpy())
    loss = np.zeros(len(ids))
    if "csl" in loaded.scores:
        loss = loaded.scores["csl"].reindex(ids).to_numpy(float)
    order = np.lexsort((ids, np.nan_to_num(loss, nan=np.inf), flagged, labels))
    bounds = np.searchsorted(labels[order], np.arange(len(samples["label"].cat.categories) + 1))
    examples = {}
    for code, name in enumerate(samples["label"].cat.categories):
        mine = order[bounds[code] : bounds[code + 1]]
        trusted = mine[~flagged[mine]]
        able = trusted if len(trusted) else mine
        able = able[: max(TYPICAL + 1, len(able) // 2)]
        places = np.unique(np.linspace(0, len(able) - 1, min(TYPICAL + 1, len(able))).astype(int))
        examples[str(name)] = tuple(int(one) for one in ids[able[places]])
    return examples


def sides(loaded: data.Loaded, sample: int, given: str, suggested: str | None, most: int = TYPICAL) -> list[proof.Side]:
    """Typical samples of the given class, and of the suggested one; the sample itself is none of them."""
    if not loaded.labelled:
        return []
    examples = data.derived(loaded, typical)
    found = []
    for name, role in ((given, proof.GIVEN), (suggested, proof.SUGGESTED)):
        if not isinstance(name, str) or (role == proof.SUGGESTED and name == given):
            continue
        ids = [one for one in examples.get(name, ()) if one != sample][:most]
        if ids:
            found.append(proof.Side(name, role, tuple(parts.tile(loaded, one) for one in ids)))
    return found


def print_of(loaded: data.Loaded, sample: int, suggested: str | None = None) -> proof.Print | None:
    """The loss print of a sample over the bands of its class and of the suggested one; None where none was recorded."""
    losses = data.losses(loaded, sample)
    if losses is None:
        return None
    bands = data.bands(loaded)
    given = str(loaded.samples.at[sample, "label"])
    steps = losses.index
    drawn = []
    if bands is not None:
        for name, role in ((given, proof.GIVEN), (suggested, proof.SUGGESTED)):
            if name not in bands.mean or (role == proof.SUGGESTED and name == given):
                continue
            lines = (_at(values[name], bands.checkpoints, steps) for values in (bands.mean, bands.low, bands.high))
            few = f", only {plural(bands.count[name], 'sample')}" if bands.count[name] < 10 else ""
            shown = name if loaded.labelled else "all"
            drawn.append(proof.Band(shown, f"{shown} ({bands.source}{few})", role, *lines))
    return proof.Print(
        f"sample {sample}",
        tuple(int(step) for step in steps),
        _numbers(losses.to_numpy(float)),
        tuple(drawn),
        _seen(losses, drawn),
    )


def _at(values: np.ndarray, checkpoints: np.ndarray, steps: pd.Index) -> tuple[float | None, ...]:
    return _numbers(pd.Series(values, checkpoints).reindex(steps).to_numpy(float))


def _numbers(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(round(float(one), 4) if np.isfinite(one) else None for one in values)


def _seen(losses: pd.Series, drawn: Sequence[proof.Band]) -> str:
    """At how many checkpoints the loss lies above the band of the given class, in words."""
    if not drawn or drawn[0].role != proof.GIVEN:
        return "The loss of this sample at each checkpoint."
    high = np.array([np.nan if one is None else one for one in drawn[0].high])
    known = losses.notna().to_numpy() & ~np.isnan(high)
    above = int((losses.to_numpy(float)[known] > high[known]).sum())
    name, of = drawn[0].label, int(known.sum())
    if above == 0:
        return f"Its loss stays within what is usual for {name}."
    often = "at every checkpoint" if above == of else f"at {above} of {of} checkpoints"
    return f"Its loss lies above what is usual for {name} {often}."


def partners(loaded: data.Loaded, sample: int, suggested: str | None) -> list[proof.Partners]:
    """The validation samples of all classes that a training sample was learned against, then those learned with it."""
    if loaded.samples.at[sample, "split"] != "train":
        return []
    pairs = data.partners(loaded, sample)
    pairs = pairs[pairs["scope"] == "all"]
    given = loaded.samples.at[sample, "label"]
    groups = []
    for side, title, meaning in (
        ("conflicting", "Pull against it", "Their loss rises when this one's falls"),
        ("aligned", "Learned together with it", "Their loss falls and rises with this one's"),
    ):
        rows = on_side(pairs, side)
        if rows.empty:
            continue
        labels = [str(loaded.samples.at[one, "label"]) for one in rows["partner"]]
        roles = tuple(
            proof.GIVEN if label == given else proof.SUGGESTED if label == suggested else proof.OTHER
            for label in labels
        )
        tiles = tuple(parts.tile(loaded, one, given=label) for one, label in zip(rows["partner"], labels))
        said = f"{meaning}: {_shares(labels)}." if loaded.labelled else f"{meaning}."
        groups.append(proof.Partners(title, said, tiles, roles))
    return groups


def _shares(labels: Sequence[str]) -> str:
    """`3 of 5 are coat, 2 shirt`."""
    counts = pd.Series(labels).value_counts()
    first, *rest = counts.items()
    others = "".join(f", {count} {name}" for name, count in rest)
    return f"{first[1]} of {len(labels)} {'is' if first[1] == 1 else 'are'} {first[0]}{others}"


def below(loaded: data.Loaded, sample: int, suggested: str | None, key: str) -> None:
    """The partners of a sample among all classes, and how far they can be trusted."""
    groups = partners(loaded, sample, suggested)
    if not groups:
        return
    proof.proof(key=f"{key}-partners", partners=groups)
    if loaded.labelled:
        st.caption(f"Validation samples of all {len(loaded.classes):,} classes.", help=OFTEN)


def draw(loaded: data.Loaded, sample: int, suggested: str | None, key: str, *, examples: bool) -> None:
    """All of it: typical samples of both classes (where the label is doubted), the loss print, the partners."""
    given = str(loaded.samples.at[sample, "label"])
    proof.proof(
        key=f"{key}-proof",
        sides=sides(loaded, sample, given, suggested) if examples else (),
        print=print_of(loaded, sample, suggested),
    )
    below(loaded, sample, suggested, key)
    beside(loaded, sample, companions(loaded, sample, suggested), key)


def beside(loaded: data.Loaded, sample: int, others: dict[str, int], key: str) -> None:
    """A sample side by side with one of `others`, by what each is, folded: drawn once it is opened."""
    if not others or loaded.noun != "image":
        return
    fold = st.expander(
        "Light and window, side by side, difference", icon=":material/compare:", key=f"{key}-pair", on_change="rerun"
    )
    with fold:
        if not fold.open:
            return
        chosen = st.selectbox("Beside it", list(others), key=f"{key}-beside-{sample}", format_func=parts.md)
        pair = [sample, others[chosen]]
        pictures = [data.thumb(loaded, one, LARGE) for one in pair]
        if None in pictures:
            st.caption("One of the two cannot be read.")
            return
        captions = [f"#{one} {loaded.samples.at[one, 'label'] if loaded.labelled else ''}" for one in pair]
        shown = [large(loaded, *one) for one in zip(pair, pictures, captions)]
        viewer(*shown, limit=900, key=f"{key}-pair-view")


def companions(loaded: data.Loaded, sample: int, suggested: str | None) -> dict[str, int]:
    """What a sample can be laid beside: its copies, then typical samples of the given and of the suggested class."""
    pairs = loaded.duplicates
    pairs = pairs[(pairs["sample"] == sample) | (pairs["partner"] == sample)].head(8)
    copies = [int(row.partner if row.sample == sample else row.sample) for row in pairs.itertuples()]
    others = {f"its copy #{one}": one for one in copies}
    examples = data.derived(loaded, typical) if loaded.labelled else {}
    for label in dict.fromkeys([str(loaded.samples.at[sample, "label"]), *([suggested] if suggested else [])]):
        others |= {f"typical {label} #{one}": one for one in examples.get(label, ()) if one != sample}
    return others
