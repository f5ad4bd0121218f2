"""The page Coreset: what it says of planted measurements, what it keeps, and that its snippets run as shown."""

import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import streamlit as st
import torch
from helpers import make_run
from streamlit.testing.v1 import AppTest

from lossprint.app import data
from lossprint.app.views.coreset import charts
from lossprint.app.views.coreset import numbers as coreset
from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.export.applied import applied
from lossprint.audit.export.export import csv_text
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import Run
from lossprint.scoring.coresets import methods
from lossprint.scoring.coresets.methods import METHODS

# right answers of 100 by method and fraction: (of class bag, of class coat) with seed 0, then with seed 1
RIGHT = {
    ("random", 0.1): ((40, 30), (40, 34)),
    ("cld", 0.1): ((42, 36), (44, 34)),
    ("random", 0.3): ((44, 40), (44, 40)),
    ("aum_easy", 0.3): ((50, 10), (50, 14)),
    ("random", 1.0): ((45, 43), (45, 43)),
}
AT_10 = "At 10 %, CLD (most aligned) reached 78.0 % (± 0.0, 2 seeds), random 72.0 %, all samples 88.0 %."
AT_30 = "At 30 %, random reached 84.0 % (± 0.0, 2 seeds), all samples 88.0 %."


@pytest.fixture(autouse=True)
def fresh_caches():
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "my folder")


def plant(run: Run, right=RIGHT, **more) -> None:
    rows = []
    for (method, fraction), by_seed in right.items():
        for seed, answers in enumerate(by_seed):
            shared = {"method": method, "fraction": fraction, "seed": seed, "model": "small", "steps": 120}
            shared |= {"options": "", "batch": 8, "device": "cpu", "epochs": 4.0, "train_samples": round(30 * fraction)}
            shared |= {"noisy": 0.25 if method == "random" else 0.1, "seconds": 1.0, "data": "x", "outdated": False}
            shared |= {"key": f"{method}{fraction}{seed}", **more}
            for label, found in zip(("bag", "coat"), answers):
                rows.append({**shared, "split": "test", "label": label, "right": found, "of": 50})
    new = pd.DataFrame(rows)
    run.update_evaluation(lambda now: new if now is None else pd.concat([now, new], ignore_index=True))


def open_page(run: Run, monkeypatch, **state) -> AppTest:
    monkeypatch.setenv("LOSSPRINT_RUNS", str(run.path))
    app = AppTest.from_string("from lossprint.app import main\nmain.main('coreset')", default_timeout=60)
    for key, value in state.items():
        app.session_state[key] = value
    return whole(app.run())


def whole(app: AppTest) -> AppTest:
    assert not app.exception
    assert [error.value for error in app.error] == []
    return app


def told(app: AppTest) -> str:
    return "\n".join([element.proto.body for element in app.get("html")]).replace("\u00a0", " ")


def words(app: AppTest) -> str:
    said = [*app.markdown, *app.caption, *app.warning, *app.subheader, *app.info]
    return "\n".join(str(element.value) for element in said).replace("\\", "")


# ------------------------------------------------------------------------------------------------- what was measured


@pytest.mark.parametrize(
    ("method", "wanted", "judged", "says"),
    [
        ("cld", 0.1, "accuracy", [AT_10]),  # 78 and 78 of 100; random 70 and 74, mean 72; all 88
        # random: deviation of 70 and 74 is 2.83
        ("random", 0.1, "accuracy", ["At 10 %, random reached 72.0 % (± 2.8, 2 seeds), all samples 88.0 %."]),
        ("random", 0.27, "accuracy", ["27 % was not measured: the nearest that was is 30 %.", AT_30]),
        (
            "cld",
            0.3,
            "accuracy",
            ["30 % was not measured with CLD (most aligned): the nearest that was is 10 %.", AT_10],
        ),
        ("k_centre", 0.3, "accuracy", ["K-centre was not measured.", AT_30]),
        # coat: 10 and 14 of 50 are 20 and 28 %
        (
            "aum_easy",
            0.3,
            "worst",
            [
                "At 30 %, in the worst class: AUM (easy) 24.0 % (± 5.7, coat, 2 seeds), random 80.0 % (coat), "
                "all samples 86.0 % (coat)."
            ],
        ),
        (
            "cld",
            0.1,
            "noisy",
            [
                "At 10 %, wrong labels among those kept: CLD (most aligned) 10.0 % (± 0.0, 2 seeds), random 25.0 %, "
                "all samples 25.0 %."
            ],
        ),
        ("random", 1.0, "accuracy", ["At 100 %, all samples reached 88.0 % (± 0.0, 2 seeds)."]),
    ],
)
def test_what_was_measured_is_said_in_plain_words(run, method, wanted, judged, says):
    plant(run)
    found = coreset.measured(data.load(run.path), run.evaluation_stamp())
    assert coreset.sentences(found.cells, method, wanted, judged) == says


def test_one_seed_has_no_deviation_and_nothing_else_is_made_up(run):
    plant(run, {("cld", 0.1): ((42, 36),)})
    found = coreset.measured(data.load(run.path), 0)
    assert coreset.sentences(found.cells, "cld", 0.1, "accuracy") == [
        "At 10 %, CLD (most aligned) reached 78.0 % (1 seed)."
    ]
    assert coreset.sentences(found.cells, "ccs", 0.1, "accuracy") == ["Coverage of difficulty (CCS) was not measured."]


def test_trainings_from_before_the_latest_decisions_do_not_count(run):
    plant(run)
    plant(run, {("cld", 0.1): ((1, 1), (1, 1)), ("cld", 0.3): ((2, 2),)}, outdated=True, key="old")
    found = coreset.measured(data.load(run.path), 0)
    assert found.outdated == 1  # one training, shared by all rows of a key
    assert found.cells.query("method == 'cld'")["fraction"].tolist() == [0.1]
    assert found.cells.query("method == 'cld'")["accuracy"].item() == pytest.approx(0.78)


def test_the_figure_draws_marks_where_something_was_measured_and_no_lines_between(run):
    plant(run)
    found = coreset.measured(data.load(run.path), 0)
    part, seeds = (frame[frame["fraction"] < 1] for frame in (found.cells, found.seeds))
    figure = charts.measured(
        part.assign(value=100 * part["accuracy"], spread=100 * part["spread"]),
        seeds.assign(value=100 * seeds["accuracy"]),
        titles={name: METHODS[name].title for name in ("random", "cld", "aum_easy")},
        chosen="cld",
        wanted=0.27,
        whole=(88.0, 0.0),
        what="accuracy (%)",
        dark=False,
    )
    drawn = [trace for trace in figure.data if any(x is not None for x in trace.x)]
    assert {trace.mode for trace in drawn} == {"markers"}
    marks = {trace.name: trace for trace in drawn if trace.name}
    assert list(marks["Random"].y) == pytest.approx([72, 84]) and list(marks["CLD, most aligned"].y) == [78]
    assert list(marks["Random"].error_y.array) == pytest.approx([np.std([70, 74], ddof=1), 0])
    assert [round(x) for x in marks["Random"].x] == [0, 1]  # a column a measured fraction
    assert list(figure.layout.xaxis.ticktext) == ["10 %", "30 %"]
    dots = [y for trace in drawn if not trace.name for y in trace.y]
    assert sorted(dots) == pytest.approx([60, 64, 70, 74, 78, 78, 84, 84])
    assert "27 %: not measured" in [note.text for note in figure.layout.annotations]
    assert any(shape.y0 == shape.y1 == 88.0 for shape in figure.layout.shapes)


def test_the_page_says_it_and_what_to_type_for_the_rest(run, monkeypatch):
    plant(run)
    app = open_page(run, monkeypatch, method="cld", keep=10)
    assert "At 10 %, CLD (most aligned) reached 78.0 % (± 0.0, 2 seeds)" in told(app)
    assert "Measured with other options" not in words(app)
    assert not any("coreset evaluate" in code.value for code in app.code)
    whole(app.toggle(key="equal").set_value(True).run())
    assert "Measured with other options" in words(app)
    whole(app.slider(key="keep").set_value(27).run())
    assert "27 % was not measured: the nearest that was is 10 %." in told(app)
    typed = next(shlex.split(code.value) for code in app.code if "coreset evaluate" in code.value)
    assert typed[typed.index("--fractions") + 1] == "0.27" and "--equal" in typed
    assert typed[typed.index("--steps") + 1] == "120" and typed[typed.index("--seeds") + 1] == "2"


def test_a_method_that_was_not_measured_is_said_beside_those_that_were(run, monkeypatch):
    plant(run)
    app = open_page(run, monkeypatch, method="k_centre", keep=30)
    assert "K-centre was not measured." in told(app) and "At 30 %, random reached 84.0 %" in told(app)
    assert any(shlex.split(code.value)[5:7] == ["random", "k_centre"] for code in app.code if "evaluate" in code.value)
    whole(app.selectbox(key="c_judged").set_value("noisy").run())
    assert "wrong labels among those kept: random 25.0 %" in told(app)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_that_is_offered_gives_what_the_command_line_gives(run, method):
    loaded, ask = data.load(run.path), Ask(method, fraction=0.1, seed=2)
    if not coreset.lacking(loaded, method):
        found = coresets.coreset(run, method, fraction=0.1, seed=2)
        pd.testing.assert_frame_equal(data.coreset(loaded, ask).frame, found)


def test_where_nothing_was_measured_the_command_can_be_copied(run, monkeypatch):
    app = open_page(run, monkeypatch, method="cld", keep=20)
    assert "Not measured yet" in words(app)
    typed = shlex.split(next(code.value for code in app.code if "evaluate" in code.value))
    assert typed[:4] == ["lossprint", "coreset", "evaluate", str(run.path.resolve())]  # the folder has a blank
    assert {"random", "cld"} <= set(typed) and {"0.05", "0.1", "0.2", "0.3", "1"} <= set(typed)
    whole(app.selectbox(key="method").set_value("random").run())
    typed = shlex.split(next(code.value for code in app.code if "evaluate" in code.value))
    assert len(typed[typed.index("--methods") + 1 : typed.index("--fractions")]) == 2  # chance alone compares nothing


def test_what_methods_share_is_that_of_the_same_options(run):
    rows = [
        ("", 0.1, "cld", "cld", 1.0),
        ("", 0.1, "cld", "random", 0.25),
        ('{"equal": true}', 0.1, "cld", "aum_easy", 1.0),
    ]
    overlap = pd.DataFrame(rows, columns=["options", "fraction", "first", "second", "shared"])
    found = coreset.shared(overlap, "cld", 0.1, "")
    assert found.to_dict("records") == [{"method": "Random", "shared": 25.0}]
    assert coreset.shared(overlap, "cld", 0.3, "").empty and coreset.shared(None, "cld", 0.1, "").empty


# ------------------------------------------------------------------------------------------------- methods


def test_methods_that_the_run_lacks_something_for_are_not_offered_but_told(run, monkeypatch):
    scores = run.scores()
    scores["aum"] = float("nan")
    run.write_scores(scores)
    app = open_page(run, monkeypatch)
    options = app.selectbox(key="method").options
    assert "CLD, most aligned" in options and "Facility location" in options
    assert "AUM, easy" not in options and "GRAD-MATCH" not in options  # no margins, no weights
    assert options[:5] == [METHODS[name].title for name in methods.FIRST if name != "ccs_cleaned"]
    table = next(frame.value for frame in app.dataframe if "keeps" in frame.value).set_index("method")
    assert table["lacks"]["AUM, easy"] == "the score AUM" and table["lacks"]["Random"] == ""
    assert table["lacks"]["GRAD-MATCH"] == "the last layer of a trained model"
    assert set(table.index) == {about.title for about in METHODS.values()}
    loaded = data.load(run.path)
    source = coresets.source_of(applied(run))
    assert all(bool(coreset.lacking(loaded, name)) == bool(coresets.lacking(source, name)) for name in METHODS)


def test_the_seed_counts_only_where_it_matters(run, monkeypatch):
    app = open_page(run, monkeypatch, method="cld", seed=4)
    assert app.number_input(key="seed").disabled and "coreset-cld-30pct-seed0.csv" in app.code[1].value
    whole(app.selectbox(key="method").set_value("random").run())
    assert not app.number_input(key="seed").disabled and "coreset-random-30pct-seed4.csv" in app.code[1].value


def test_advice_is_shown_where_there_is_any(run, monkeypatch):
    monkeypatch.setattr(methods, "ADVICE", (("labels are noisy", "cld_cleaned", "Errors come last."),), raising=False)
    app = open_page(run, monkeypatch)
    assert "**labels are noisy**: CLD after cleaning. Errors come last." in words(app)
    monkeypatch.setattr(methods, "ADVICE", ())
    assert "What to choose when" not in [one.label for one in open_page(run, monkeypatch).expander]


# ------------------------------------------------------------------------------------------------- the subset


def test_decisions_change_the_subset_at_once_and_so_does_taking_them_back(run):
    loaded, ask = data.load(run.path), Ask("cld", fraction=0.5)
    before = data.coreset(loaded, ask)
    best, other = int(before.frame["sample"].iloc[0]), int(before.frame["sample"].iloc[1])
    assert data.coreset(loaded, ask) is before  # nothing decided: from the cache
    label = next(name for name in run.classes if name != before.frame["label"].iloc[1])
    reviews = open_reviews(run)
    reviews.add(finding=f"label_error:{best}", sample=best, decision="exclude", reviewer="ann")
    reviews.add(finding=f"label_error:{other}", sample=other, decision="relabel", new_label=label, reviewer="ann")
    now = data.coreset(loaded, ask)
    assert best not in set(now.frame["sample"]) and (now.excluded, now.relabelled) == (1, 1)
    assert now.frame.set_index("sample")["label"].get(other, label) == label
    assert now.whole[label] == before.whole[label] + 1 - (best in loaded.samples.query("label == @label").index)
    reviews.undo("ann")
    reviews.undo("ann")
    pd.testing.assert_frame_equal(data.coreset(loaded, ask).frame, before.frame)


def test_an_impossible_subset_is_one_line(run, monkeypatch):
    app = open_page(run, monkeypatch, method="cld", keep=10, least=5)
    assert any("at least 5 of each class are 15 samples" in one.value for one in app.warning)


def test_a_subset_is_saved_opened_deleted_and_put_back(run, monkeypatch):
    app = open_page(run, monkeypatch, method="random", keep=20, seed=3, twins=True)
    name = "random-20pct-seed3-notwins"
    whole(app.button(key="save-coreset").click().run())
    assert run.selections() == [name]
    kept = coresets.kept(run)[0]
    assert (kept.method, kept.budget, kept.params["seed"]) == ("random", {"fraction": 0.2}, 3)
    assert kept.samples == tuple(
        data.coreset(data.load(run.path), Ask("random", 0.2, seed=3, one_of_duplicates=True)).frame["sample"]
    )
    assert "Random · 20 % kept · 6 samples · never both of a duplicate pair · seed 3" in words(app)
    before = run.selection_path(name).read_bytes()

    whole(app.selectbox(key="method").set_value("cld").run())
    whole(app.slider(key="keep").set_value(90).run())
    whole(app.button(key=f"selection-open-{name}").click().run())
    assert app.selectbox(key="method").value == "random" and app.slider(key="keep").value == 20
    assert app.number_input(key="seed").value == 3 and app.toggle(key="twins").value

    whole(app.button(key=f"selection-delete-{name}").click().run())
    assert run.selections() == [] and "was deleted" in words(app)
    whole(app.button(key="selection-undo").click().run())
    assert run.selections() == [name] and run.selection_path(name).read_bytes() == before
    assert "was deleted" not in words(app) and not coresets.damaged(run)


@pytest.mark.parametrize("name", ["../evil", "", ".hidden", "a" * 80])
def test_a_name_that_cannot_be_is_one_line_and_nothing_is_written(run, name, monkeypatch):
    app = open_page(run, monkeypatch, method="cld", keep=30)
    app.text_input(key="save-cld-30pct-seed0").set_value(name).run()
    app.button(key="save-coreset").click().run()
    assert not app.exception and len(app.error) == 1
    assert "Nothing was saved" in app.error[0].value and "expected a name" in app.error[0].value
    assert run.selections() == [] and not list(run.path.parent.rglob("*evil*"))


def test_a_saved_subset_that_was_changed_says_so_and_cannot_be_opened(run, monkeypatch):
    coresets.keep(run, coresets.source_of(applied(run)), Ask("cld", per_class=2), "two each")
    coresets.keep(run, coresets.source_of(applied(run)), Ask("cld", fraction=0.3), "other")
    path = run.selection_path("other")
    path.write_bytes(path.read_bytes() + b"99,x.png,bag,0.5,10\n")
    app = open_page(run, monkeypatch)
    assert "CLD, most aligned · 2 of each class · 6 samples" in words(app)
    assert "the file was changed since" in words(app)
    assert app.button(key="selection-open-other").disabled and app.button(key="selection-open-two each").disabled


# ------------------------------------------------------------------------------------------------- snippets


class Whole(torch.utils.data.Dataset):
    """A dataset of one's own over all rows of a manifest, in another order than Lossprint's."""

    def __init__(self, table: pd.DataFrame):
        self.table = table.sample(frac=1, random_state=1)
        self.paths = self.table["path"].tolist()

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, at: int):
        return torch.zeros(3, 4, 4), self.paths[at]


def executed(text: str, folder, frame: pd.DataFrame, file: str, monkeypatch, **names) -> dict:
    (folder / file).write_text(csv_text(frame))
    monkeypatch.chdir(folder)
    exec(compile(text, "<snippet>", "exec"), names)  # the snippet is our own
    return names


@pytest.mark.parametrize("method", ["cld", "random", "grad_match"])
@pytest.mark.parametrize("odd", [False, True])
def test_snippets_run_as_shown_on_a_manifest(run, tmp_path, method, odd, monkeypatch):
    loaded, ask = data.load(run.path), Ask(method, fraction=0.3)
    frame = data.coreset(loaded, replace(ask, method="cld" if method == "grad_match" else method)).frame
    frame = frame.assign(score=frame["score"].abs() + 0.1)
    table = run.samples()[["path", "label"]]
    if odd:  # a path that a spreadsheet would run is written as it is
        name = frame["path"].iloc[0]
        frame, table = (one.assign(path=one["path"].replace(name, "=1+1/x.png")) for one in (frame, table))
    wanted, made = set(frame["path"]), coreset.snippets(loaded, frame, ask, "c.csv")
    assert list(made) == ["PyTorch Subset", "List of paths", "Sampler with weights"]
    assert "import csv" in made["PyTorch Subset"]
    dataset = Whole(table)
    found = executed(made["PyTorch Subset"], tmp_path, frame, "c.csv", monkeypatch, dataset=dataset)
    assert {found["train"][at][1] for at in range(len(found["train"]))} == wanted and len(found["train"]) == len(frame)
    files = executed(made["List of paths"], tmp_path, frame, "c.csv", monkeypatch)["files"]
    assert [label for _, label in files] == frame["label"].tolist()
    root = tmp_path / "my folder" / "data"
    assert [str(file.relative_to(root)) for file, _ in files] == frame["path"].tolist()
    assert all(file.is_file() for file, _ in files) != odd
    found = executed(made["Sampler with weights"], tmp_path, frame, "c.csv", monkeypatch, dataset=dataset)
    seen = [path for _, paths in found["loader"] for path in paths]
    if method == "grad_match":
        assert set(seen) <= wanted and len(seen) == len(frame)
        assert float(found["weights"].sum()) == pytest.approx(frame["score"].sum(), rel=1e-5)
    else:
        assert sorted(seen) == sorted(wanted)


def test_snippets_run_as_shown_on_class_folders(tmp_path, monkeypatch):
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import ToTensor

    run = make_run(tmp_path / "folder", kind="folder")
    loaded, ask = data.load(run.path), Ask("cld", fraction=0.4)
    frame = data.coreset(loaded, ask).frame
    made = coreset.snippets(loaded, frame, ask, "c.csv")
    root = tmp_path / "folder" / "data"
    dataset = ImageFolder(root / "train", transform=ToTensor())
    train = executed(made["PyTorch Subset"], tmp_path, frame, "c.csv", monkeypatch, dataset=dataset)["train"]
    found = {str(root / path) for path in frame["path"]}
    assert {dataset.samples[at][0] for at in train.indices} == found and len(train) == len(frame)
    loader = executed(made["Sampler with weights"], tmp_path, frame, "c.csv", monkeypatch, dataset=dataset)["loader"]
    assert sum(len(labels) for _, labels in loader) == len(frame)


@pytest.mark.parametrize("source", ["torchvision:CIFAR10:/somewhere", "hf:uoft-cs/CIFAR10"])
def test_snippets_run_as_shown_on_a_set_of_numbered_images(run, tmp_path, monkeypatch, source):
    kind = {"torchvision": "torchvision", "hf": "huggingface"}[source.partition(":")[0]]
    dataset_of = {**run.manifest["dataset"], "kind": kind, "source": source}
    loaded = replace(data.load(run.path), run=Run(run.path, {**run.manifest, "dataset": dataset_of}))
    paths = [f"train/{number:06d}" for number in (4, 0, 7)]
    frame = pd.DataFrame({"sample": [4, 0, 7], "path": paths, "label": list("aba"), "score": 1.0, "rank": [1, 2, 3]})
    made = coreset.snippets(loaded, frame, Ask("cld", fraction=0.3), "c.csv")
    dataset = [(torch.zeros(1), at) for at in range(10)]
    train = executed(made["PyTorch Subset"], tmp_path, frame, "c.csv", monkeypatch, dataset=dataset)["train"]
    assert train.indices == [0, 4, 7] and "CIFAR10" in made["PyTorch Subset"]
    files = executed(made["List of paths"], tmp_path, frame, "c.csv", monkeypatch)["files"]
    assert files == [(4, "a"), (0, "b"), (7, "a")]
    loader = executed(made["Sampler with weights"], tmp_path, frame, "c.csv", monkeypatch, dataset=dataset)["loader"]
    assert sorted(int(at) for _, numbers in loader for at in numbers) == [0, 4, 7]


def test_a_relabelled_sample_is_told_and_where_code_finds_its_label(run, monkeypatch):
    best = int(data.coreset(data.load(run.path), Ask("cld", fraction=0.3)).frame["sample"].iloc[0])
    given = run.samples().set_index("sample").at[best, "label"]
    label = next(name for name in run.classes if name != given)
    open_reviews(run).add(
        finding=f"label_error:{best}", sample=best, decision="relabel", new_label=label, reviewer="ann"
    )
    app = open_page(run, monkeypatch, method="cld", keep=30)
    assert "1 label changed" in words(app) and "train on the manifest" in words(app)
