"""Streams against the batch forms: equal values, equal reasons, whatever the shards they are merged from."""

import itertools

import numpy as np
import pytest
from test_trajectory import made_up, nasty

from lossprint.scoring import trajectory
from lossprint.scoring.correlation import Undefined
from lossprint.scoring.stream import QueryStream, Stream


def batch_columns(losses, labels, means, margins, norms):
    mean, spread = trajectory.data_map(losses)
    return {
        "cld": trajectory.cld(losses, labels, means),
        "ltc": trajectory.ltc(losses, labels, means),
        "csl": trajectory.csl(losses),
        "aum": trajectory.aum(margins),
        "forgetting": trajectory.forgetting(margins > 0, ~np.isfinite(margins)),
        "el2n": trajectory.el2n(norms),
        "p_mean": mean,
        "p_std": spread,
    }


def batch_reasons(losses, labels, means, margins, norms):
    loss, margin = trajectory.missing_reasons(losses), trajectory.missing_reasons(margins)
    return {
        "cld": trajectory.undefined_reasons(losses, labels, means, on="differences"),
        "ltc": trajectory.undefined_reasons(losses, labels, means, on="losses"),
        "csl": loss,
        "aum": margin,
        "forgetting": margin,
        "el2n": trajectory.missing_reasons(norms),
        "p_mean": loss,
        "p_std": loss,
    }


def extras(losses, seed=3):
    """Margins and norms (E, N), random."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=losses.shape).astype(np.float32)
    return margins, rng.uniform(0, 1.4, losses.shape).astype(np.float32)


@pytest.mark.parametrize("offset, scale", [(0, 1), (1000, 1), (1e6, 50), (0, 1e-6)], ids=lambda value: f"{value:g}")
def test_stream_equals_batch_form(offset, scale):
    losses, labels, val, val_labels = made_up(checkpoints=40, samples=20_000)
    losses = losses * np.float32(scale) + np.float32(offset)
    means = trajectory.class_means(val, val_labels, 4)
    margins, norms = extras(losses)
    losses[3, 5], margins[9, 6], norms[0, 7], losses[0, 8] = np.nan, np.nan, np.nan, np.inf
    stream = Stream(labels, 4)
    for step in zip(losses, means, margins, norms):
        stream.update(*step)
    arguments = losses, labels, means, margins, norms
    expected, found = batch_columns(*arguments), stream.result()
    assert list(found) == list(Stream.COLUMNS)
    for name, column in found.items():
        np.testing.assert_allclose(column, expected[name], atol=1e-5, rtol=1e-5, err_msg=name)
    assert stream.undefined_reasons() == batch_reasons(*arguments)


def test_stream_is_undefined_where_the_batch_form_is_and_says_why():
    losses, labels, means = nasty()
    margins, norms = extras(losses)
    stream = Stream(labels, 3)
    for t, step in enumerate(zip(losses, means, margins, norms), start=1):
        stream.update(*step)
        seen = losses[:t], labels, means[:t], margins[:t], norms[:t]
        expected = batch_columns(*seen)
        for name, column in stream.result().items():
            np.testing.assert_allclose(column, expected[name], atol=1e-5, rtol=1e-6, err_msg=f"{name} at {t}")
        assert stream.undefined_reasons() == batch_reasons(*seen)
    assert stream.undefined_reasons()["cld"] == Undefined(constant=3, class_mean=1, missing=2)


@pytest.mark.parametrize("cuts", [[0], [20], [1, 1, 49], [0, 13, 14, 50]])
def test_streams_of_uneven_shards_merge_into_the_stream_of_all(cuts):
    losses, labels, val, val_labels = made_up(samples=50)
    losses[2, 4], losses[:, 30] = np.nan, 0.5
    means = trajectory.class_means(val, val_labels, 4)
    margins, norms = extras(losses)
    bounds = [0, *cuts, 50]
    parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
    whole, shards = Stream(labels, 4), [Stream(labels[part], 4) for part in parts]

    def add(stream, part, t):
        stream.update(losses[t, part], means[t], margins[t, part], norms[t, part])

    for t in range(6):
        add(whole, slice(None), t)
        for stream, part in zip(shards, parts):
            add(stream, part, t)
    merged = shards[0]
    for stream in shards[1:]:
        merged = merged.merge(stream)
    for t in range(6, 12):  # a merged stream goes on like any other, and so does a shard
        add(whole, slice(None), t)
        add(merged, slice(None), t)
        add(shards[0], parts[0], t)
    for name, column in whole.result().items():
        np.testing.assert_array_equal(merged.result()[name], column, err_msg=name)
        np.testing.assert_array_equal(shards[0].result()[name], column[parts[0]], err_msg=name)
    assert merged.undefined_reasons() == whole.undefined_reasons()


def test_only_shards_of_the_same_checkpoints_merge():
    losses, labels, val, val_labels = made_up(samples=50)
    means = trajectory.class_means(val, val_labels, 4)

    def seen(part, *steps, margins=None, **options):
        stream = Stream(labels[part], 4, **options)
        for t in steps:
            stream.update(losses[t, part], means[t], margins)
        return stream

    left, right = slice(0, 20), slice(20, 50)
    for other in (seen(right), seen(right, 0, 2), seen(right, 0, 1, columns=("cld",))):
        with pytest.raises(ValueError, match="2 checkpoints of 4"):
            seen(left, 0, 1).merge(other)
    with pytest.raises(ValueError, match="inputs"):
        seen(left, 0, 1).merge(seen(right, 0, 1, margins=np.zeros(30)))
    assert seen(left).merge(seen(right)).labels.shape == (50,)  # nobody has seen anything yet


def test_stream_without_margins_or_norms_has_no_scores_of_them():
    losses, labels, val, val_labels = made_up()
    means = trajectory.class_means(val, val_labels, 4)
    stream = Stream(labels, 4)
    stream.update(losses[0], means[0])
    assert list(stream.result()) == list(stream.undefined_reasons()) == ["cld", "ltc", "csl", "p_mean", "p_std"]
    stream.update(losses[1], means[1], losses[1], losses[1])  # too late: the first checkpoint had none
    assert list(stream.result()) == ["cld", "ltc", "csl", "p_mean", "p_std"]
    for name in ("margins", "norms"):
        other = Stream(labels, 4)
        other.update(losses[0], means[0], **{name: losses[0]})
        with pytest.raises(ValueError, match=f"{name} came at 1"):
            other.update(losses[1], means[1])
    only = Stream(labels, 4, columns=("el2n", "csl"))
    only.update(losses[0], means[0], norms=losses[0])
    assert list(only.result()) == ["el2n", "csl"]


def test_streams_state_both_shapes():
    losses, labels, val, val_labels = made_up()
    means = trajectory.class_means(val, val_labels, 4)
    with pytest.raises(ValueError, match=r"\(3,\).*\(4,\)"):
        Stream(labels, 4).update(losses[0], means[0, :3])
    with pytest.raises(ValueError, match=r"norms \(59,\).*\(60,\)"):
        Stream(labels, 4).update(losses[0], means[0], norms=losses[0, 1:])
    with pytest.raises(ValueError, match=r"there are.*cld"):
        Stream(labels, 4, columns=("cdl",))
    with pytest.raises(ValueError, match="no checkpoint"):
        Stream(labels, 4).result()
    with pytest.raises(ValueError, match=r"\(60,\).*\(4,\).*\(61,\).*\(4,\)"):
        QueryStream(61, 4).update(losses[0], means[0])
    with pytest.raises(ValueError, match="differences"):
        QueryStream(60, 4, on="steps")


# ---------------------------------------------------------------------------------------------- every query


@pytest.mark.parametrize("on", ["differences", "losses"])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_query_stream_equals_batch_form_and_merges(on, offset):
    losses, _, val, _ = made_up(checkpoints=25, samples=300)
    losses, val = losses + np.float32(offset), val + np.float32(offset)
    losses[:, 9], losses[3, 20], val[:, 2], val[4, 7] = 1.5, np.nan, 0.25, np.inf
    cuts = [0, 1, 1, 120, 300]
    shards = [QueryStream(stop - start, 40, on=on) for start, stop in itertools.pairwise(cuts)]
    whole = QueryStream(300, 40, on=on)
    for t in range(25):
        whole.update(losses[t], val[t])
        for shard, start, stop in zip(shards, cuts, cuts[1:]):
            shard.update(losses[t, start:stop], val[t])
        expected, reasons = trajectory.correlations(losses[: t + 1], val[: t + 1], on=on)
        if t in (0, 1, 2, 24):
            np.testing.assert_allclose(whole.result(), expected, atol=1e-5)
            assert whole.undefined_reasons() == reasons
    merged = shards[0]
    for shard in shards[1:]:
        merged = merged.merge(shard)
    np.testing.assert_array_equal(merged.result(), whole.result())
    assert merged.undefined_reasons() == reasons == Undefined(constant=38, class_mean=598, missing=40)
    with pytest.raises(ValueError, match="same references"):
        shards[1].merge(QueryStream(3, 40, on=on))


def test_query_stream_with_nothing_in_it():
    for samples, queries in ((0, 3), (4, 0)):
        stream = QueryStream(samples, queries)
        for t in range(4):
            stream.update(np.arange(samples) * t**2, np.arange(queries) * t)
        assert stream.result().shape == (samples, queries) and stream.undefined_reasons().total == 0
