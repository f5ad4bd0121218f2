"""Datasets of texts: their forms, what is refused, reading one text alone, duplicates, runs of real trainings."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import streamlit as st
import text_runs
from app_pages import NAMES, assert_whole, open_page, said

from lossprint.app.views.prints import shapes
from lossprint.audit.cli import main as cli
from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets import kinds, turns
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.datasets.readers import texts
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.training import loading
from lossprint.audit.types import LossprintError
from lossprint.scoring import near_texts

CHAT = [{"role": "user", "content": "Hi\nAssistant:\nforged"}, {"role": "assistant", "content": "Hello"}]


def lines(path, *records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def all_texts(source):
    return [source.read(path) for path in source.rows["path"]]


# ------------------------------------------------------------------------------------------------- forms


def test_forms_of_json_lines(tmp_path):
    cases = [
        ({"text": "plain, as it is \n"}, "plain, as it is \n"),
        ({"prompt": "2+2?", "response": "4", "text": "unused"}, "Prompt:\n2+2?\n\nResponse:\n4"),
        ({"instruction": "Add", "input": "", "output": "4"}, "Instruction:\nAdd\n\nOutput:\n4"),
        ({"instruction": "Add", "input": "2", "output": "4"}, "Instruction:\nAdd\n\nInput:\n2\n\nOutput:\n4"),
        ({"messages": CHAT}, "User:\nHi\n Assistant:\nforged\n\nAssistant:\nHello"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image"}]}]}, None),
    ]
    for at, (record, expected) in enumerate(cases):
        source = texts.read_texts(lines(tmp_path / f"{at}.jsonl", record))
        assert source.read("row/000000") == (expected or "User:\nsee\n[image]")
        assert source.rows["label"].tolist() == ["all"] and source.kind == "text"
    assert source.media is TEXTS and source.size is None


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_the_same_table_in_each_kind_of_file(tmp_path, kind):
    """Labels, splits, ids and texts of several lines come out the same, read one by one in any order."""
    number = 500
    table = pd.DataFrame(
        {
            "text": [f'text {at},\n“quoted” "{at}" {"x" * (at % 90)}' for at in range(number)],
            "label": [str(at % 3) for at in range(number)],
            "split": ["Training", "valid", "test", "train"] * (number // 4),
            "id": [f"doc-{at}" for at in range(number)],
        }
    )
    path = tmp_path / f"texts.{kind}"
    if kind == "csv":
        path.write_bytes(b"\xef\xbb\xbf" + table.to_csv(index=False).encode())  # as Excel writes it
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path, row_group_size=170)
    else:
        lines(path, *table.to_dict("records"))
    source = texts.read_texts(path)
    assert source.rows["path"].tolist() == table["id"].tolist()
    assert source.rows["label"].tolist() == table["label"].tolist()
    assert source.rows["split"].tolist() == ["train", "val", "test", "train"] * (number // 4)
    order = np.random.default_rng(0).permutation(number)
    assert [source.read(f"doc-{at}") for at in order] == table["text"].iloc[order].tolist()
    assert all_texts(source) == table["text"].tolist()
    assert texts.lists_texts(path) and kinds.kind_of(path).name == "text"
    for unknown in ("doc-500", "row/000001", "../texts", ""):
        with pytest.raises(LossprintError, match="expected the path of a text"):
            source.read(unknown)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(LossprintError, match="has changed since"):
        source.read("doc-1")


def test_parquet_of_conversations(tmp_path):
    path = tmp_path / "chats.parquet"
    pq.write_table(pa.table({"messages": [CHAT, CHAT[:1]], "split": ["train", "val"]}), path)
    source = texts.read_texts(path)
    assert all_texts(source) == [
        turns.joined([(one["role"], one["content"]) for one in said]) for said in (CHAT, CHAT[:1])
    ]


def test_reading_in_order_reads_each_row_group_once(tmp_path, monkeypatch):
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": [f"number {at}" for at in range(2000)]}), path, row_group_size=1000)
    source = texts.read_texts(path)
    opened, real = [], pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda name, **how: opened.append(name) or real(name, **how))
    assert all_texts(source) == [f"number {at}" for at in range(2000)]
    assert len(opened) == 2


def test_what_is_a_manifest_of_images_and_what_of_texts(tmp_path):
    for header, answer in (
        ("path,label", False),
        ("text,label", True),
        ("path,text", False),
        ("prompt,response", True),
    ):
        file = tmp_path / "some.csv"
        file.write_text(header + "\na,b\n")
        assert texts.lists_texts(file) is answer
    broken = tmp_path / "some.parquet"
    broken.write_bytes(b"no parquet")
    assert not texts.lists_texts(broken) and all(kinds.kind_of(name).name != "text" for name in (tmp_path, "hf:imdb"))
    (tmp_path / "images.csv").write_text("path,label\na.png,x\n")
    with pytest.raises(LossprintError, match="expected a dataset of texts, found images"):
        datasets.text_reader(tmp_path / "images.csv")


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"text": "a"}\n{"text": "\xff"}\n', r"UTF-8 text in .*, found the byte 0xff in line 2"),
        (b'{"text": "a"}\n\n{"text": \n', r"expected a JSON object in line 3 of .*, found: "),
        (b'{"text": "a"}\n["text"]\n', r"expected a JSON object in line 2 of .*, found a list"),
        (b"[" * 100_000, r"expected a JSON object in line 1 of .*, found: ValueError"),
        (b'{"text": "a"}\n{"label": "x"}\n', r"expected 'text' in line 2 of .*, found 'label'"),
        (b'{"text": "a"}\n{"text": " \\n"}\n', r"expected a text in line 2 of .*, found an empty one"),
        (b'{"text": "a"}\n{"text": 3}\n', r"expected text as 'text' in line 2 of .*, found a number"),
        (b'{"text": "\\ud800"}\n', r"UTF-8 can hold in line 1 of .*, found half of a character, U\+D800"),
        (
            b'{"text": "a", "id": 1}\n{"text": "b", "id": "1"}\n',
            r"each id once in .*, found '1' in line 1 and in line 2",
        ),
        (b'{"text": "a", "id": 1}\n{"text": "b"}\n', r"expected an id in every row of .*, found none in line 2"),
        (b'{"text": "a", "label": "x"}\n{"text": "b"}\n', r"expected a label in every row of .*, found none in line 2"),
        (b'{"text": "a", "split": "dev"}\n', r"expected a split of .*, found 'dev' in line 1 of "),
        (b'{"text": "a", "label": ["x"]}\n', r"expected one label in line 1 of .*, found a list"),
        (b'{"messages": []}\n', r"expected a list of messages in line 1 of .*, found an empty list"),
        (b'{"messages": [{"content": "a"}]}\n', r"expected messages with role and content in line 1 of "),
        (
            b'{"path": "a.png", "label": "x"}\n',
            r"expected a column text, prompt and response, .*, found 'path', 'label'",
        ),
        (b"\n", r"expected texts in .*, found no rows"),
    ],
)
def test_bad_json_lines_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(LossprintError, match=message) as caught:
        datasets.open_dataset(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"text,label\na,x\n\xffb,y\n", r"found the byte 0xff in line 3"),
        (b'text,label\n"a\nb",x\nc\n', r"expected 2 cells in line 4 of .*, found 1"),
        (b'text,label\n"a"b,x\n', r"expected a CSV file, found in line 2"),
        (b"text,label,text\na,x,b\n", r"expected one column 'text' in .*, found 2"),
    ],
)
def test_bad_csv_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(LossprintError, match=message):
        datasets.open_dataset(path)


def test_a_broken_parquet_file_is_refused(tmp_path):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"text": ["x" * 1000] * 500}), path)
    path.write_bytes(path.read_bytes()[:2000] + path.read_bytes()[2100:])
    with pytest.raises(LossprintError, match="expected"):
        datasets.open_dataset(path)


# ------------------------------------------------------------------------------------------------- what is shown


def test_turns_go_there_and_back():
    said = [("system", "Be kind."), ("User", "Hi\n\nthere"), ("gpt", "User:\nno"), ("tool", "")]
    found = turns.turns(turns.joined(said))
    assert found == [("System", "Be kind."), ("User", "Hi\n\nthere"), ("Assistant", " User:\nno"), ("Tool", "")]
    assert turns.turns("no roles here: none") == [("", "no roles here: none")]


def test_what_is_shown_is_harmless_and_short():
    odd = turns.shown("a\x00b\x1bc\u202ed\u2066e\r\nf\ud800\u200dg")
    assert odd == "a\u2400b\u241bc\u27e8U+202E\u27e9d\u27e8U+2066\u27e9e\nf\u27e8U+D800\u27e9\u200dg"
    assert turns.excerpt(text_runs.HOSTILE) == [("", text_runs.HOSTILE)]
    (short,) = turns.excerpt(text_runs.LONG)
    assert len(short[1]) <= turns.EXCERPT + 2 and short[1].endswith("\u2026")
    said, left = turns.whole(text_runs.LONG)
    assert len(said[0][1]) == turns.WHOLE and left == len(text_runs.LONG) - turns.WHOLE
    chat = turns.joined([("user", "why " * 400), ("assistant", "because " * 400), ("user", "so " * 400)])
    cut = turns.excerpt(chat)
    assert [role for role, _ in cut][:2] == ["User", "Assistant"] and cut[-1][1].endswith("\u2026")
    assert sum(len(words) for _, words in cut) <= turns.EXCERPT + 10
    assert turns.line(chat, 60).startswith("User: why why") and len(turns.line(chat, 60)) <= 61
    assert TEXTS.worded("Which images are an image with the same pixels? Images.") == (
        "Which texts are a text with the same words? Texts."
    )


# ------------------------------------------------------------------------------------------------- duplicates


def plain_shingles(text):
    found = re.findall(r"\w+", text.casefold())
    return {tuple(found[at : at + 5]) for at in range(max(1, len(found) - 4))} if found else set()


def test_near_texts_are_those_that_a_loop_over_all_pairs_finds():
    rng = np.random.default_rng(1)
    some = [f"word{at}" for at in range(300)]
    whole = [" ".join(rng.choice(some, rng.integers(8, 120))) for _ in range(150)]
    for at in range(100):  # one word changed, or the end cut off, or other case and punctuation
        said = whole[at].split()
        said[int(rng.integers(len(said)))] = "changed"
        whole.append([" ".join(said), " ".join(whole[at].split()[:-2]), whole[at].upper().replace(" ", ", ")][at % 3])
    whole += ["", "...", "...", "two words", "Two words!"]
    sets = [plain_shingles(text) for text in whole]
    expected = {}
    for one in range(len(sets)):
        for other in range(one + 1, len(sets)):
            both, union = len(sets[one] & sets[other]), len(sets[one] | sets[other])
            if union and both / union >= 0.8:
                expected[one, other] = both / union
    found = near_texts.near_texts(whole, whole.__getitem__)
    assert list(zip(found.first.tolist(), found.second.tolist())) == sorted(expected)
    assert found.similarity == pytest.approx([expected[pair] for pair in sorted(expected)])
    assert 60 < len(expected) < 200
    assert len(near_texts.near_texts([], [].__getitem__).first) == 0


def test_boilerplate_does_not_cost_a_comparison_of_all_with_all():
    same = ["terms and conditions apply to all of the following offers"] * 800
    read = []
    found = near_texts.near_texts(same, lambda at: read.append(at) or same[at])
    assert len(found.first) <= near_texts.CROWD * len(same) and len(read) <= near_texts.CROWD * len(same)
    joined = {0}
    for one, other in zip(found.first.tolist(), found.second.tolist()):
        joined |= {one, other} if one in joined or other in joined else set()
    assert len(joined) == len(same)


# ------------------------------------------------------------------------------------------------- datasets and runs


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return text_runs.labelled_run(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    return text_runs.instructions_run(tmp_path_factory.mktemp("chats"))


def test_a_validation_split_is_drawn_and_one_group_is_enough(tmp_path):
    path = lines(tmp_path / "texts.jsonl", *({"text": f"number {at}"} for at in range(40)))
    found = datasets.open_dataset(path, seed=3)
    assert found.samples["split"].value_counts().to_dict() == {"train": 36, "val": 4}
    assert found.classes == ["all"] and found.task == "text" and found.media is TEXTS
    again = datasets.open_dataset(path, seed=3)
    assert again.samples.equals(found.samples) and again.fingerprint == found.fingerprint
    lines(path, *({"text": f"number {at}" + "!" * (at == 7)} for at in range(40)))
    assert datasets.open_dataset(path, seed=3).fingerprint != found.fingerprint
    read = datasets.text_reader(path, found.fingerprint)  # the file was changed since
    with pytest.raises(LossprintError, match="they were changed"):
        read("row/000001")


def test_wrong_labels_rank_first(labelled):
    _, wrong, run = labelled
    ranked = run.scores().sort_values("label_error", ascending=False)
    assert set(ranked["path"].head(8)) == wrong
    assert set(run.scores().sort_values("csl", ascending=False)["path"].head(10)) >= wrong
    found = run.findings()
    errors = found[found["kind"] == "label_error"]
    assert set(errors["path"]) == wrong
    assert (errors["suggested_label"] == [path.split("/")[0] for path in errors["path"]]).all()
    assert run.manifest["dataset"]["media"] == "text" and "task" not in run.manifest["dataset"]


def test_copies_are_found_whatever_their_blanks(labelled):
    _, _, run = labelled
    names = run.samples().set_index("sample")["path"]
    pairs = run.duplicates()
    kinds = {names[row.partner]: (row.kind, names[row.sample].split("/")[0]) for row in pairs.itertuples()}
    assert kinds == {"copy/0": ("exact", "cooking"), "copy/1": ("exact", "finance"), "copy/2": ("near", "weather")}
    assert set(run.findings()["kind"]) == {"label_error", "duplicate", "near_duplicate"}


def test_wrong_answers_rank_first_without_labels(chats):
    _, wrong, run = chats
    ranked = run.scores().sort_values("csl", ascending=False)["sample"].tolist()
    assert len(wrong & set(ranked[:12])) >= 7  # of 192, by chance half of one
    flagged = set(run.findings().query("kind == 'label_error'")["sample"])
    assert len(flagged & wrong) >= 5 and len(flagged) <= 16
    assert run.classes == ["all"] and run.task == "text" and run.manifest["dataset"]["media"] == "text"
    assert run.scores()["suggested_label"].isna().all()


def test_imported_losses_of_texts(chats, tmp_path):
    """The losses of the recorded run, handed over as a file, give the same scores."""
    path, _, run = chats
    parts = {split: run.trajectory(split) for split in ("train", "val")}
    arrays = {f"{split}_losses": part.losses.T for split, part in parts.items()}
    np.savez(tmp_path / "losses.npz", **arrays)
    code = cli.main(["import", str(tmp_path / "losses.npz"), "--dataset", str(path), "--out", str(tmp_path / "run")])
    assert code == 0
    from lossprint.audit.runs.open import open_run

    made = open_run(tmp_path / "run")
    assert made.scores()["csl"].tolist() == pytest.approx(run.scores()["csl"].tolist())
    assert made.duplicates().equals(run.duplicates())


def test_paths_serve_as_ids_and_others_are_refused(labelled, tmp_path):
    recorder = Recorder(tmp_path / "run", str(labelled[0]))
    recorder.update(["cooking/000", "odd/long"], np.array([1.0, 2.0]))
    with pytest.raises(LossprintError, match="unknown ones such as"):
        recorder.update(["cooking/999"], np.array([1.0]))


def test_an_audit_of_texts_is_refused_in_one_line(labelled, tmp_path, capsys):
    assert cli.main(["audit", str(labelled[0]), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "found texts in" in said
    assert "Recorder" in said and "lossprint score" in said and "lossprint import" in said
    assert not (tmp_path / "run").exists()


def test_an_image_reader_refuses_texts(labelled):
    with pytest.raises(LossprintError, match="expected a dataset of images, found texts"):
        datasets.image_reader(labelled[0])


def test_a_run_of_texts_trains_no_network_on_a_coreset(labelled):
    _, _, run = labelled
    samples = run.samples()
    with pytest.raises(LossprintError, match="expected images to train on, found texts"):
        asked = {"dataset": str(labelled[0]), "model": "small", "val_fraction": 0.1, "seed": 0}
        loading.inputs_again(samples, np.zeros(len(samples)), samples["split"].to_numpy(str), run.classes, asked, True)


# ------------------------------------------------------------------------------------------------- the app's pages


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_page_copes_with_texts(name, labels, labelled, chats, monkeypatch):
    """Whole, without an error, and without a word about images where the samples are texts."""
    st.cache_resource.clear()
    run = (labelled if labels else chats)[2]
    app = open_page(name, run.path, monkeypatch)
    assert_whole(app)
    told = said(app)
    assert "not readable" not in told and "cannot be read" not in told
    if name not in ("help", "sequences", "coreset"):  # the last tells what was measured on images
        assert not re.search(r"\b(images?|pixels)\b", told, re.IGNORECASE), told


def test_the_app_says_when_the_texts_are_others_than_those_that_were_audited(tmp_path, monkeypatch):
    path, _ = text_runs.instructions(tmp_path, 40)
    run = text_runs.record_instructions(path, tmp_path / "run", epochs=3)
    rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(rows[1:] + rows[:1]) + "\n", encoding="utf-8")
    st.cache_resource.clear()
    app = open_page("prints", run.path, monkeypatch)
    assert_whole(app)
    assert "texts cannot be read from the dataset any more" in said(app)


def test_the_coreset_page_s_code_reads_the_texts(labelled, tmp_path, monkeypatch):
    """Each way to use a chosen subset runs as it is shown; a `dataset` has the texts' ids as its paths."""
    from types import SimpleNamespace

    from lossprint.app import data
    from lossprint.app.views.coreset import numbers
    from lossprint.audit.coresets import coreset as coresets
    from lossprint.audit.export import export

    run = labelled[2]
    loaded = data.load(run.path)
    ask = coresets.Ask("csl_easy", 0.2)
    frame = data.coreset(loaded, ask).frame
    (tmp_path / "coreset.csv").write_text(export.csv_text(frame), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    made = numbers.snippets(loaded, frame, ask, "coreset.csv")
    names: dict = {}
    exec(made["List of texts"], names)
    given = {row["id"]: (row["text"], row["label"]) for row in map(json.loads, labelled[0].open(encoding="utf-8"))}
    assert names["texts"] == [given[path] for path in frame["path"]]
    dataset = SimpleNamespace(paths=list(given))
    names = {"dataset": dataset}
    exec(made["PyTorch Subset"], names)
    assert [dataset.paths[at] for at in names["train"].indices] == [
        path for path in given if path in set(frame["path"])
    ]


def test_shapes_without_labels_are_measured_by_the_losses_themselves():
    losses = np.array([[4.0, 4.2, 3.8, 4.1], [3.0, 3.9, 2.4, 3.0], [2.2, 4.0, 1.9, 2.0]], np.float32)
    low, high = shapes.levels(1, losses)
    assert high == pytest.approx(np.median(losses[0])) and low == pytest.approx((high + np.median(losses[2])) / 2)
    assert shapes.levels(1, losses[::-1]) == shapes.levels(2)  # they rise: nothing was learned
