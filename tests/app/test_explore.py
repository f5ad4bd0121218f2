"""Explore: the columns against plain loops, decisions on what no finding asks about, and the page itself."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run
from streamlit.testing.v1 import AppTest

from lossprint.app import data
from lossprint.app.shared import decide
from lossprint.app.shared.acting import picked, steps
from lossprint.app.views.explore import columns
from lossprint.app.views.explore.columns import ALL, CLEAN, FLAGGED, Ask
from lossprint.audit.export.applied import applied
from lossprint.audit.export.export import changes
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run


@pytest.fixture
def run(tmp_path):
    """The usual run with two further columns: a patient of every fourth sample none, and an age."""
    made = make_run(tmp_path)
    ids = made.samples()["sample"].to_numpy()
    patient = [None if one % 4 == 0 else f"P{one % 3}|[x](y)" for one in ids]
    age = np.where(ids % 5 == 0, np.nan, 20.0 + ids % 7)
    made.write_further(pd.DataFrame({"sample": ids, "patient": pd.Series(patient, dtype=object), "age": age}))
    return made


@pytest.fixture
def loaded(run):
    return data.load(run.path)


def plain(loaded, ask: Ask) -> list[int]:
    """The ids that pass, by a loop over rows."""
    found, extra = [], loaded.run.further().set_index("sample")
    for sample, row in loaded.samples.iterrows():
        kinds = set(loaded.findings.loc[loaded.findings["sample"] == sample, "kind"])
        score = loaded.scores[ask.score].get(sample, np.nan) if ask.score in loaded.scores else np.nan
        score = extra.at[sample, "age"] if ask.score == "column:age" else score
        suggested = loaded.scores["suggested_label"].get(sample)
        words = ask.search.lower().split()
        checks = (
            ask.split in (ALL, row["split"]),
            ask.label in (ALL, row["label"]),
            ask.suggested in (ALL, suggested),
            ask.kind == ALL
            or (not kinds if ask.kind == CLEAN else bool(kinds) if ask.kind == FLAGGED else ask.kind in kinds),
            ask.least is None or np.float32(score) >= np.float32(ask.least),
            ask.most is None or np.float32(score) <= np.float32(ask.most),
            not ask.column or ask.value == ALL or extra.at[sample, "patient"] == ask.value,
            all(word in row["path"].lower() for word in words) or ask.search.strip() == str(sample),
        )
        if all(checks):
            found.append(sample)
    return found


@pytest.mark.parametrize(
    "ask",
    [
        Ask(),
        Ask(split="train", label="coat"),
        Ask(search="TRAIN png"),
        Ask(search="7"),
        Ask(search="no such thing"),
        Ask(kind=FLAGGED),
        Ask(kind=CLEAN, split="val"),
        Ask(kind="label_error", suggested="shirt"),
        Ask(score="csl", least=0.9, most=1.7),
        Ask(score="column:age", least=22, split="test"),
        Ask(column="column:patient", value="P1|[x](y)", kind=CLEAN),
        Ask(label="no such label"),
    ],
)
def test_filters_combine_as_a_loop_over_rows_has_it(loaded, ask):
    ids = loaded.samples.index.to_numpy()[columns.places(loaded, ask, "sample", False)]
    assert ids.tolist() == plain(loaded, ask)


@pytest.mark.parametrize("by", ["path", "label", "csl", "cld", "column:age", "column:patient"])
@pytest.mark.parametrize("down", [False, True])
def test_the_order_is_that_of_the_column_with_what_has_none_last(loaded, by, down):
    places = columns.order(loaded, by, down)
    assert sorted(places) == list(range(len(loaded.samples)))
    table = columns.table(loaded, places)
    values = table[columns.title(by) if by.startswith("column:") else by]
    missing = values.isna().to_numpy()
    assert not missing[: (~missing).sum()].any()
    known = values[~missing].tolist()
    assert known == sorted(known, reverse=down)
    for _, same in table[~missing].groupby(known, sort=False):
        assert same["sample"].is_monotonic_increasing, "equal values by their ids"


def test_groups_count_what_is_chosen(loaded):
    chosen = columns.places(loaded, Ask(split="train"), "csl", True)
    table = columns.groups(loaded, "column:patient", chosen).set_index("value")
    rows = columns.table(loaded, chosen)
    flagged = set(loaded.findings["sample"])
    for value, part in rows.groupby(rows["patient"].fillna("(none)")):
        assert table.at[value, "samples"] == len(part)
        assert table.at[value, "flagged"] == part["sample"].isin(flagged).sum()
        assert table.at[value, "difficulty"] == pytest.approx(part["csl"].mean(), rel=1e-5)
    assert table["samples"].sum() == len(chosen)


def test_a_run_without_further_columns_or_with_a_missing_row_has_empty_cells(tmp_path):
    made = make_run(tmp_path)
    assert columns.texts(data.load(made.path)) == []
    made.write_further(pd.DataFrame({"sample": [2], "site": ["Ulm"]}))
    (made.path / "run.json").touch()
    loaded = data.load(made.path)
    chosen = columns.places(loaded, Ask(column="column:site", value="Ulm"), "sample", False)
    assert loaded.samples.index[chosen].tolist() == [2]


def test_what_no_finding_asks_about_is_decided_on_and_exported_as_picked(loaded, monkeypatch):
    session = SimpleNamespace(session_state={"reviewer": "ann"})
    for module in (decide, steps):
        monkeypatch.setattr(module, "st", session)
    rows = picked.names(loaded, [7, 4, 0])
    assert rows["group"].tolist() == ["pick:7", "label_error:4", "pick:0"], "a group is not one sample's finding"
    rows["label"] = [loaded.samples.at[one, "label"] for one in rows["sample"]]
    act = steps.bulk(loaded, rows, dict.fromkeys(rows["group"], 0))
    act("exclude", [7, 0], None)
    act("relabel", [4], "bag")
    kept = open_reviews(open_run(loaded.run.path))
    assert kept.current().set_index("sample")["finding"].to_dict() == {7: "pick:7", 0: "pick:0", 4: "label_error:4"}
    changed = changes(applied(open_run(loaded.run.path))).set_index("path")
    paths = loaded.samples["path"]
    assert changed["decision"].to_dict() == {paths[7]: "exclude", paths[0]: "exclude", paths[4]: "relabel"}


def test_the_page_shows_all_splits_and_its_table_groups_and_drawer(run, monkeypatch):
    app = open_page("explore", run.path, monkeypatch)
    assert_whole(app)
    assert "**54** samples" in said(app)
    for view in ("Table", "Groups"):
        app = open_page("explore", run.path, monkeypatch, e_view=view, e_label="coat")
        assert_whole(app)
        assert "**18 of 54** samples" in said(app)
    app = open_page("explore", run.path, monkeypatch, e_search="nothing has this")
    assert_whole(app)
    assert "Nothing matches" in said(app)
    app = open_page("explore", run.path, monkeypatch, open="7")
    assert_whole(app)
    assert "pick:7-keep" in " ".join(str(one.key) for one in app.button), "an unflagged sample can be decided on"


def test_one_decision_on_all_that_match_is_one_step_back(run, monkeypatch):
    app = open_page("explore", run.path, monkeypatch, e_label="coat", e_split="test", e_word="exclude")
    app.button(key="e_store").click().run()
    assert_whole(app)
    kept = open_reviews(open_run(run.path))
    samples = run.samples().set_index("sample")
    decided = kept.current()
    assert len(decided) == 4 and (samples.loc[decided["sample"], "split"] == "test").all()
    assert (decided["decision"] == "exclude").all() and decided["at"].nunique() == 1


def test_what_was_picked_is_a_queue_of_review_and_its_link_says_which(loaded, monkeypatch):
    assert picked.text([9, 3, 4, 5, 12, 12]) == "3-5.9.12" and picked.text([]) == ""
    known = loaded.samples.index
    assert picked.read("3-5.9.12", known) == [3, 4, 5, 9, 12]
    assert picked.read("x.-4.5-.7-99999999999.2..9-1", known)[-1] == max(known), "what is no sample is passed over"
    assert picked.read("\u0661.1e5. 4", known) == []
    items = picked.items(loaded, [7, 4])
    assert items["group"].tolist() == ["pick:7", "label_error:4"] and items["samples"].tolist() == [[7], [4]]
    assert items["suggested_label"].tolist() == [None, "shirt"]
    app = AppTest.from_string("from lossprint.app import main\nmain.main('review')", default_timeout=30)
    monkeypatch.setenv("LOSSPRINT_RUNS", str(loaded.run.path))
    app.query_params["picked"] = "7-8"
    app.session_state["queue"] = picked.QUEUE
    app.run()
    assert_whole(app)
    assert app.query_params["finding"] == "pick:7"
