"""What must hold for any input: back and forth is the identity, and no order of work changes an answer."""

import csv
import hashlib
import io
import itertools
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import digests, make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lossprint.audit import Recorder
from lossprint.audit.datasets.readers.manifests import read_manifest
from lossprint.audit.export import exchange, export, manifests, outfile
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvfile import BOM, csv_text, guard, unguard
from lossprint.scoring import duplicates, labels, outliers, trajectory
from lossprint.scoring.coresets import coreset
from lossprint.scoring.coresets.methods import METHODS

quick = settings(
    max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
few = settings(quick, max_examples=8)
NASTY = [
    "=1+1", "+x", "-x", "@x", "'=x", "a,b", 'say "hi"', "a\nb", "a\r\nb", "\rx", "\tx", "é\u0301", "\u202eabc", "ب",
    "'", "''", " lead", "trail ", "\ufeffx", "\x00x", "\x1b[1m", "a;b", "＝1", "NaN", "null", "1.0", "x" * 4096,
]  # fmt: skip
text = st.one_of(st.sampled_from(NASTY), st.text(max_size=12)).map(lambda one: one.encode("utf-8", "replace").decode())
label = text.filter(lambda one: one.strip() and "\0" not in one)


# ------------------------------------------------------------------------------------------------ back and forth


@quick
@given(st.lists(st.tuples(text, text), max_size=8), st.sampled_from(NASTY))
def test_a_csv_gives_back_every_text(rows, name):
    frame = pd.DataFrame(rows, columns=[f"c{name}", "other"]).astype("string")
    wanted = [[f"c{name}", "other"], *([a, b] for a, b in rows)]
    assert list(csv.reader(io.StringIO(csv_text(frame), newline=""), strict=True)) == wanted
    safe = csv_text(frame, for_excel=True)
    read = list(csv.reader(io.StringIO(safe.removeprefix(BOM), newline=""), strict=True))
    assert [[unguard(cell) for cell in row] for row in read] == wanted
    for cell in itertools.chain(*(re.split("[;\t\r\n]", whole) for whole in itertools.chain(*read))):
        assert cell[:1] not in tuple("=+-@\t\r\n＝＋－＠") or not cell


@few
@given(st.lists(label, min_size=2, max_size=2, unique=True), st.lists(label, min_size=6, max_size=6))
def test_a_manifest_that_was_exported_is_read_as_it_was(tmp_path_factory, classes, names):
    folder = tmp_path_factory.mktemp("manifest")
    names = [hashlib.sha256(f"{at}{one}".encode()).hexdigest()[:6] + plain(one) for at, one in enumerate(names)]
    frame = pd.DataFrame({"path": names, "label": classes * 3, "split": ["train"] * 4 + ["val"] * 2})
    for name in names:
        Image.new("RGB", (2, 2)).save(folder / name, "PNG")
    path = folder / "labels.csv"
    path.write_bytes(csv_text(frame.astype("string")).encode())
    read = read_manifest(path)
    assert read.rows["path"].tolist() == names and read.rows["label"].tolist() == classes * 3
    parquet = folder / "labels.parquet"
    parquet.write_bytes(outfile.parquet_bytes(frame))
    again = read_manifest(parquet)
    pd.testing.assert_frame_equal(again.rows, read.rows)
    assert again.fingerprint == read.fingerprint


def plain(name: str) -> str:
    """A file's name with what no file may be called replaced."""
    return name.replace("/", "_").replace("\0", "_")[:60] + "x"


@pytest.fixture(scope="module")
def nasty_run(tmp_path_factory):
    """A run of labels that are formulas, quotes and lines, with an empty database of decisions to copy."""
    classes = ("=1+1,\"x\"\n'y'", "@sum", "\u202eab\tc", "-a\r\nb")
    run = make_run(tmp_path_factory.mktemp("nasty"), classes=classes, train=4, held_out=2, frames=False)
    source = run.path.parent / "data" / "labels.csv"
    source.write_bytes(csv_text(run.samples()[["path", "label", "split"]]).encode())
    other = Run(run.path, {**run.manifest, "created": "of another run"})
    with open_reviews(other, f"sqlite:///{run.path / 'empty.db'}") as kept:  # tables are made when one is stored
        kept.add(finding="x:1", sample=1, decision="keep", reviewer="nobody")
    return run


def decided(run: Run, place):
    """The decisions in a new database: a copy of the empty one, as making its tables takes longest."""
    shutil.copyfile(run.path / "empty.db", place)
    return open_reviews(run, f"sqlite:///{place}")


choices = st.sampled_from(("relabel", "keep", "exclude", "unsure"))
comment = text.filter(lambda one: "\0" not in one)  # no database keeps it, and `Reviews.add` refuses it
one_decision = st.tuples(
    st.integers(0, 15), choices, st.integers(0, 3), st.sampled_from(("ann", "Bo, =x", "\u202ec")), comment
)


@few
@given(st.lists(one_decision, min_size=1, max_size=6, unique_by=lambda one: (one[0], one[3])))
def test_decisions_that_were_exported_and_imported_are_the_same(nasty_run, tmp_path_factory, decisions):
    """Through Label Studio's JSON, and the last word of each sample through the CSV of the cleaned dataset."""
    from lossprint.audit.export import labelstudio

    samples, place = nasty_run.samples().set_index("sample"), tmp_path_factory.mktemp("reviews")
    with decided(nasty_run, place / "a") as first:
        for sample, decision, which, who, comment in decisions:
            new = nasty_run.classes[which] if decision == "relabel" else None
            new = None if new == samples.at[sample, "label"] else new
            decision = "keep" if decision == "relabel" and new is None else decision
            first.add(
                finding=f"import:{sample}",
                sample=sample,
                decision=decision,
                reviewer=who,
                new_label=new,
                comment=comment,
            )
        tasks, said = labelstudio.tasks_bytes(nasty_run, first), outcome(first)
        cleaned = export.cleaned(applied(nasty_run, first))
    with decided(nasty_run, place / "b") as second:
        made = exchange.plan(nasty_run, tasks, "tasks.json", None, second)
        second.add_all(made.decisions)
        assert outcome(second) == said
        assert not exchange.plan(nasty_run, tasks, "tasks.json", None, second).decisions
        pd.testing.assert_frame_equal(export.cleaned(applied(nasty_run, second))[COLUMNS], cleaned[COLUMNS])
    with decided(nasty_run, place / "c") as third:
        made = exchange.plan(nasty_run, csv_text(cleaned).encode(), "cleaned.csv", None, third)
        third.add_all(made.decisions)
        kept = export.cleaned(applied(nasty_run, third))[COLUMNS].merge(cleaned[["path"]])
        pd.testing.assert_frame_equal(kept, cleaned[COLUMNS])


COLUMNS = ["path", "label", "split", "given_label", "change"]


def outcome(reviews) -> list[tuple]:
    """Who decided what on each sample; an accepted suggestion is a label like another."""
    table = reviews.history()
    table = table[table["stands"]]
    decided = table["decision"].replace("accept", "relabel")
    return sorted(zip(table["sample"], table["reviewer"], decided, table["new_label"].fillna("")))


@few
@given(st.lists(st.tuples(st.integers(0, 15), choices, st.integers(0, 3)), max_size=5, unique_by=lambda one: one[0]))
def test_a_corrected_manifest_differs_in_what_was_decided_alone(nasty_run, tmp_path_factory, decisions):
    path = nasty_run.path.parent / "data" / "labels.csv"
    given_rows = read_manifest(path).rows
    with decided(nasty_run, tmp_path_factory.mktemp("m") / "r") as kept:
        wanted = given_rows["label"].tolist()
        for sample, decision, which in decisions:
            new = nasty_run.classes[which]
            if decision == "relabel" and new != wanted[sample]:
                wanted[sample] = new
                kept.add(finding=f"x:{sample}", sample=sample, decision="relabel", reviewer="a", new_label=new)
            elif decision == "exclude":
                wanted[sample] = None
                kept.add(finding=f"x:{sample}", sample=sample, decision="exclude", reviewer="a")
        content = manifests.corrected(applied(nasty_run, kept))
    assert decisions or content == path.read_bytes()
    out = path.with_name("corrected.csv")
    out.write_bytes(content)
    read = read_manifest(out).rows
    stays = [at for at, one in enumerate(wanted) if one is not None]
    assert read["path"].tolist() == given_rows["path"].iloc[stays].tolist()
    assert read["label"].tolist() == [wanted[at] for at in stays]
    out.unlink()


@quick
@given(text)
def test_guarding_twice_comes_off_twice(one):
    assert unguard(unguard(guard(guard(one)))) == one == unguard(guard(one))


# ------------------------------------------------------------------------------------------------ orders of work


def drawn(seed: int):
    """losses (E, N), labels, means (E, C), margins, norms, classes: random, some constant, missing or infinite."""
    rng = np.random.default_rng(seed)
    e, n, classes = int(rng.integers(1, 9)), int(rng.integers(1, 30)), int(rng.integers(1, 5))
    scale, offset = 10.0 ** rng.integers(-4, 4), rng.choice([0, 0, 1, 1e4])
    losses, margins = rng.gamma(1, 1, (e, n)) * scale + offset, rng.normal(size=(e, n)) * scale
    means, norms = rng.gamma(1, 1, (e, classes)) * scale + offset, rng.uniform(0, 1.4, (e, n))
    for values in (losses, margins, norms):
        for odd in (np.nan, np.inf, -np.inf):
            values[rng.random((e, n)) < 0.02] = odd
        values[:, rng.random(n) < 0.1] = rng.choice([0.0, 0.1, 7.0])
    means[:, rng.random(classes) < 0.2] = rng.choice([0.5, np.nan])
    kinds = (losses.astype(np.float32), rng.integers(0, classes, n), means, margins.astype(np.float32))
    return *kinds, norms.astype(np.float32), classes


def columns(losses, of, means, margins, norms) -> dict[str, np.ndarray]:
    """Every score of `trajectory`, (N,) each."""
    mean, spread = trajectory.data_map(losses)
    return {
        "cld": trajectory.cld(losses, of, means),
        "ltc": trajectory.ltc(losses, of, means),
        "csl": trajectory.csl(losses),
        "aum": trajectory.aum(margins),
        "forgetting": trajectory.forgetting(margins > 0, ~np.isfinite(margins)),
        "el2n": trajectory.el2n(norms),
        "p_mean": mean,
        "p_std": spread,
    }


seeds = st.integers(0, 2**32 - 1)


@quick
@given(seeds)
def test_scores_do_not_depend_on_the_order_of_samples(seed):
    losses, of, means, margins, norms, classes = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(of))
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, classes, losses.shape).astype(np.int32)
    vectors = rng.normal(size=(len(of), 5)).astype(np.float32)
    with np.errstate(all="ignore"):
        plain = columns(losses, of, means, margins, norms)
        moved = columns(losses[:, order], of[order], means, margins[:, order], norms[:, order])
        for name, column in plain.items():
            # Not to the last bit: sums are of several numbers at once, the last ones of a row in another order.
            np.testing.assert_allclose(moved[name], column[order], rtol=1e-12, atol=1e-12, err_msg=name)
        found = labels.label_errors(losses, of, margins=margins, predicted=predicted)
        other = labels.label_errors(
            losses[:, order], of[order], margins=margins[:, order], predicted=predicted[:, order]
        )
        for name in ("severity", "suggested"):
            np.testing.assert_allclose(getattr(other, name), getattr(found, name)[order], rtol=1e-12, err_msg=name)
        if len(of) > 6:
            far, again = (outliers.neighbour_distance(one, 5) for one in (vectors, vectors[order]))
            np.testing.assert_allclose(again, far[order], atol=1e-6)
    marks = [f"{one}" for one in rng.integers(0, 8, len(of))]
    same = {frozenset(found.tolist()) for found in duplicates.exact_pairs(marks)}
    again = duplicates.exact_pairs([marks[at] for at in order])
    assert {frozenset(order[found].tolist()) for found in again} == same


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.needs != "last layer"])
def test_a_coreset_depends_on_ids_and_not_on_rows(method):
    """Many ties: scores of four values, vectors of few directions. The seed and the ids decide."""

    @settings(quick, max_examples=12)
    @given(seeds, st.sampled_from((0.1, 0.5, 0.9)), st.booleans())
    def check(seed, fraction, equal):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(20, 60))
        ids, of = rng.permutation(10 * n)[:n], rng.choice(np.array(["a", "b", "c"]), n)
        columns = {one.column for one in METHODS.values() if one.column}
        scores = {name: rng.choice([0.0, 0.25, 1.0, np.nan], n, p=[0.4, 0.3, 0.2, 0.1]) for name in columns}
        vectors = rng.integers(-1, 2, (n, 3)).astype(np.float32) + 0.1
        suspect = np.where(rng.random(n) < 0.2, rng.random(n), np.nan)
        order = rng.permutation(n)

        def chosen(rows):
            pool = coreset.Pool(suspect=suspect[rows], vectors=vectors[rows], excluded=(ids % 7 == 0)[rows])
            pool = coreset.Pool(pool.excluded, pool.suspect, (ids % 9)[rows].astype(int), pool.vectors)
            mine = {name: values[rows] for name, values in scores.items()}
            made = coreset.select(
                method, mine, of[rows], fraction=fraction, equal=equal, seed=7, sample_ids=ids[rows], pool=pool
            )
            return ids[rows][made.index].tolist(), made.score

        first, again = chosen(np.arange(n)), chosen(order)
        assert first[0] == again[0]
        np.testing.assert_array_equal(first[1], again[1])

    check()


def recorded(folder, table: pd.DataFrame, losses, logits, rng) -> Run:
    """Record two checkpoints in batches of random sizes, in a random order of samples."""
    recorder = Recorder(folder, table)
    for checkpoint in (1, 2, 3):
        order = rng.permutation(len(table))
        for batch in np.array_split(order, rng.integers(1, 6)):
            if len(batch):
                ids = table["sample"].to_numpy()[batch]
                recorder.update(ids, losses[checkpoint - 1, batch], logits[batch] * checkpoint)
        recorder.end_checkpoint(checkpoint)
    return recorder.finish()


def test_batches_in_any_order_give_the_same_bytes(tmp_path):
    rng = np.random.default_rng(1)
    n = 40
    frame = pd.DataFrame({"sample": np.arange(n) * 3, "path": [f"{at}.png" for at in range(n)]})
    frame["label"], frame["split"] = np.array(["a", "b"])[np.arange(n) % 2], np.where(np.arange(n) < 30, "train", "val")
    losses, logits = rng.gamma(1, 1, (3, n)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)
    runs = [
        recorded(tmp_path / name, frame, losses, logits, np.random.default_rng(seed)) for seed, name in enumerate("abc")
    ]
    found = [{name: one for name, one in digests(run.path).items() if name.endswith(".parquet")} for run in runs]
    assert len(found[0]) == 8 and found[0] == found[1] == found[2]
