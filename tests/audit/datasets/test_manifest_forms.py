"""Manifests as other programs write them: separators, encodings, names of columns, folders elsewhere."""

import numpy as np
import pandas as pd
import pytest
from dataset_files import folder, message
from helpers import make_run

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.dataset import open_dataset, sample_reader
from lossprint.audit.export import manifests
from lossprint.audit.export.applied import applied
from lossprint.audit.recording.samples import described
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvfile import BOM

NAMES = ("Hündin", "chat", "öl, süß")
FORMS = {
    "semicolon": (".csv", ";", "utf-8"),
    "semicolon of Excel": (".csv", ";", "utf-8-sig"),
    "tabs": (".tsv", "\t", "utf-8"),
    "tabs in a csv": (".csv", "\t", "utf-8"),
    "UTF-16 with tabs": (".csv", "\t", "utf-16"),
    "UTF-16, big end first": (".tsv", "\t", "utf-16-be"),
    "UTF-16, unmarked": (".csv", ",", "utf-16-le"),
    "UTF-32": (".csv", ";", "utf-32"),
    "upright bars": (".csv", "|", "utf-8"),
    "cp1252": (".csv", ",", "cp1252"),
    "cp1252 with semicolons": (".csv", ";", "cp1252"),
}


def rows(mark: str, label=lambda name, at: name, per_class=4) -> str:
    lines = [("path", "label")] + [
        (f"{name}/{at:02d}.png", label(name, at)) for name in NAMES for at in range(per_class)
    ]
    cells = [[f'"{cell}"' if mark in cell else cell for cell in line] for line in lines]
    return "".join(mark.join(line) + "\r\n" for line in cells)


@pytest.fixture
def images(tmp_path):
    return folder(tmp_path / "data", 4, NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_spreadsheet_writes_is_read(images, form):
    ending, mark, encoding = FORMS[form]
    path = images / f"labels{ending}"
    path.write_bytes(rows(mark).encode(encoding))
    dataset = open_dataset(path)
    assert dataset.classes == sorted(NAMES) and len(dataset.samples) == 12 and dataset.unreadable.empty
    doubts = [note for note in dataset.notes if "cp1252" in note]
    assert bool(doubts) == (encoding == "cp1252"), dataset.notes


@pytest.mark.parametrize("form", FORMS)
def test_the_corrected_manifest_has_the_form_of_the_manifest(tmp_path, images, form):
    ending, mark, encoding = FORMS[form]
    path = images / f"labels{ending}"
    path.write_bytes(rows(mark, lambda name, at: "chat" if (name, at) == ("Hündin", 2) else name).encode(encoding))
    run = recorded(tmp_path / "run", path)
    with open_reviews(run) as kept:
        kept.add(finding="x:2", sample=2, decision="relabel", new_label="Hündin", reviewer="ann")
        content = manifests.corrected(applied(run, kept))
    assert content == rows(mark).encode(encoding)


def test_the_line_that_names_the_separator_is_read_and_stays(tmp_path, images):
    path = images / "labels.csv"
    path.write_bytes(f"sep=;\r\n{rows(';', lambda name, at: 'chat' if at == 2 else name)}".encode())
    run = recorded(tmp_path / "run", path)
    with open_reviews(run) as kept:
        for sample, name in ((2, "Hündin"), (10, "öl, süß")):
            kept.add(finding=f"x:{sample}", sample=sample, decision="relabel", new_label=name, reviewer="ann")
        assert manifests.corrected(applied(run, kept)) == f"sep=;\r\n{rows(';')}".encode()
    path.write_text("sep=|\npath|label\nchat/00.png|chat\nchat/01.png\n")
    assert "expected 2 cells in line 4 of" in message(path)


@pytest.mark.parametrize("before", ["/home/jo/pets/", "C:\\pets\\", "D:/", "\\\\store\\share\\pets\\"])
def test_paths_of_another_machine_are_read_below_the_root(tmp_path, images, before):
    path, text = images / "labels.csv", rows(",")
    slash = "\\" if "\\" in before else "/"
    for name in NAMES:
        text = text.replace(f"{name}/", f"{before}{name}{slash}")
    path.write_text(text)
    dataset = open_dataset(path)
    assert sorted(dataset.samples["path"]) == sorted(f"{name}/{at:02d}.png" for name in NAMES for at in range(4))
    assert dataset.notes[0].startswith(
        f"12 paths with {before.replace(chr(92), '/')} before them, the dataset's folder"
    )
    run = recorded(tmp_path / "run", path)
    with open_reviews(run) as kept:
        kept.add(finding="x:4", sample=4, decision="relabel", new_label="Hündin", reviewer="ann")
        assert b"00.png,H\xc3\xbcndin" in manifests.corrected(applied(run, kept)).split(b"\n")[5]
    path.write_text(text.replace("0", "x"))  # whose files are not there
    assert "or to the folder that --root names" in message(path)


def test_names_in_another_case_are_found_where_only_one_is_so(images):
    path = images / "labels.csv"
    path.write_text(rows(",", per_class=3).replace("chat/0", "CHAT/0").replace("00.png", "00.PNG"))
    dataset = open_dataset(path)
    assert dataset.unreadable.empty and "chat/01.png" in set(dataset.samples["path"])
    assert dataset.notes[0] == "5 paths with letters in another case: found, such as Hündin/00.PNG"


def recorded(out, source) -> Run:
    """A whole run of a dataset as far as exports look at it."""
    made = make_run(out.with_name("made"), classes=("a", "b"), train=6, held_out=3)
    table, about, _ = described(open_dataset(source), 0, "classes")
    made.write_samples(table, made.unreadable())
    return Run(made.path, {**made.manifest, "dataset": about})


@pytest.mark.parametrize("encoding", ["cp1251", "mac-roman", "cp437"])
def test_letters_that_cannot_be_told_are_refused_and_it_is_said_how_to_save_them(tmp_path, encoding):
    words = "кошка" if encoding == "cp1251" else "Hündin"
    text = "path,label\n" + "".join(f"{at}.png,{words}\n" for at in range(4))
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    assert "save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')" in message(tmp_path / "labels.csv")


def test_french_words_of_few_plain_letters_are_read(tmp_path, images):
    text = "path,label\n" + "".join(f"chat/{at:02d}.png,{'été' if at % 2 else 'thé'}\n" for at in range(4))
    (images / "labels.csv").write_bytes(text.encode("cp1252"))
    assert open_dataset(images / "labels.csv").classes == ["thé", "été"]


def test_empty_rows_and_cells_of_a_spreadsheet_are_passed_over(images):
    text = rows(",", per_class=3).replace("\r\n", ",,\r\n").replace("path,label,,", "path,label") + ",,,\r\n,\r\n\r\n"
    (images / "labels.csv").write_text(text, newline="")
    dataset = open_dataset(images / "labels.csv")
    assert len(dataset.samples) == 9 and any("without a path: 2 of 11 rows" in note for note in dataset.notes)
    (images / "labels.csv").write_text("path,label\nchat/00.png,chat\nchat/01.png\n")
    assert "expected 2 cells in line 3" in message(images / "labels.csv")


def test_paths_are_relative_to_the_folder_that_is_named(tmp_path, images):
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "labels.csv"
    path.write_text(rows(",", lambda name, at: f"{name}!"))
    choices = Choices(root=str(images))
    assert "no such file" in message(path)
    dataset = open_dataset(path, choices=choices)
    assert len(dataset.samples) == 12 and dataset.root == images
    about = described(dataset, 0, "classes")[1]
    assert about["choices"] == {"root": str(images)}
    assert sample_reader(about)("chat/03.png").getpixel((0, 0)) == (13, 13, 13)
    assert "expected a folder as --root" in message(path, choices=Choices(root=str(tmp_path / "none")))
    assert "expected a manifest with --root" in message(images, choices=choices)
    path.write_text(rows(",").replace("chat/", f"{images}/chat/"))
    assert "chat/00.png" in set(open_dataset(path, choices=choices).samples["path"])
    path.write_text(rows(",").replace("chat/", "../../chat/"))
    assert "which leads out of it" in message(path, choices=choices)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_columns_of_other_names_can_be_named(images, ending):
    table = pd.DataFrame([(f"{name}/{at:02d}.png", name, "x") for name in NAMES for at in range(4)])
    table.columns = ["filename", "breed", "label"]
    path = images / f"list{ending}"
    table.to_csv(path, index=False) if ending == ".csv" else table.to_parquet(path)
    assert "expected a column 'path' (or --path-column NAME)" in message(path)
    choices = Choices(path_column="filename", label_column="breed")
    assert open_dataset(path, choices=choices).classes == sorted(NAMES)
    assert "expected a column 'nothing' in" in message(path, choices=Choices(path_column="nothing"))


def test_the_options_of_the_program_reach_the_run(tmp_path, images, capsys):
    path = tmp_path / "list.tsv"
    path.write_text(rows("\t").replace("path\tlabel", "file\tbreed"))
    samples = open_dataset(path, choices=Choices(2, root=str(images), path_column="file", label_column="breed")).samples
    count = samples["split"].value_counts()
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "l.npz", **{f"{split}_losses": rng.random((count[split], 4)) for split in ("train", "val")})
    words = ["import", tmp_path / "l.npz", "--dataset", path, "--out", tmp_path / "run", "--quiet", "--root", images]
    words += ["--path-column", "file", "--label-column", "breed"]
    assert cli.main([str(word) for word in words]) == 0
    run = open_run(tmp_path / "run")
    assert run.manifest["dataset"]["choices"] == {"root": str(images), "path_column": "file", "label_column": "breed"}
    assert cli.main(["export", "cleaned", str(run.path), "--out", str(tmp_path / "tree")]) == 0
    assert cli.main(["export", "manifest", str(run.path), "--out", str(tmp_path / "out.tsv")]) == 0
    assert (tmp_path / "out.tsv").read_bytes() == path.read_bytes()
    assert not path.read_bytes().startswith(BOM.encode())
