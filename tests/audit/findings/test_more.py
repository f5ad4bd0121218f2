"""`lossprint more` on a run with planted confusions and look-alikes."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from helpers import make_run

from lossprint.audit.cli import output
from lossprint.audit.cli.main import main
from lossprint.audit.findings import more
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.types import LossprintError

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def run(tmp_path):
    """Embeddings say the true class; of the training samples labelled ant, 8 are bees and 4 are cats."""
    run = make_run(tmp_path, classes=CLASSES, train=40, held_out=4)
    samples = run.samples()
    truth = samples["label"].map(CLASSES.index).to_numpy(copy=True)
    ants = np.flatnonzero((samples["label"] == "ant") & (samples["split"] == "train"))
    truth[ants[:8]], truth[ants[8:12]] = 1, 2
    random = np.random.default_rng(2)
    vectors = random.normal(size=(len(samples), 8)) + 6 * np.eye(3, 8)[truth]
    vectors[ants[20:26], 7] += 9  # six that look alike and are of their class
    run.write_embeddings(samples["sample"].to_numpy(), vectors)
    return run, samples["sample"].to_numpy()[ants]


def test_more_of_a_confusion_are_the_undecided_ones_of_it(run):
    run, ants = run
    reviews = open_reviews(run)
    for sample in ants[:3]:
        reviews.add(
            finding=f"label_error:{sample}", sample=int(sample), decision="relabel", reviewer="ann", new_label="bee"
        )
    table = more.of_confusion(run, "ant", "bee", number=5)
    assert set(table["sample"]) == set(ants[3:8])
    assert (table["label"] == "ant").all() and (table["value"] > 0).all()
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert set(more.of_confusion(run, "ant", "cat", number=4)["sample"]) == set(ants[8:12])


def test_more_that_look_alike(run):
    run, ants = run
    table = more.like(run, ants[20:22].tolist(), number=4)
    assert set(table["sample"]) == set(ants[22:26])
    open_reviews(run).add(finding="outlier:1", sample=int(ants[22]), decision="keep", reviewer="ann")
    assert ants[22] not in set(more.like(run, ants[20:22].tolist(), number=4)["sample"])


def test_the_command_prints_and_writes_them(run, tmp_path, capsys):
    run, ants = run
    out = tmp_path / "more.csv"
    assert main(["more", str(run.path), "--confusion", "ant", "bee", "--number", "30", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "Labelled ant, most like bee first" in text
    written = pd.read_csv(out)
    assert list(written.columns) == more.COLUMNS
    assert set(written["sample"][:8]) == set(ants[:8])
    assert len(written) == 30
    assert main(["more", str(run.path), "--like", f"{ants[20]},{ants[21]}", "--unlike", str(ants[0])]) == 0
    assert str(ants[22]) in capsys.readouterr().out
    assert main(["more", str(run.path), "--like", f"{ants[20]},{ants[21]}", "--number", "4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    schema = json.loads(Path(output.__file__).with_name("results.schema.json").read_text())
    jsonschema.validate(result, schema["commands"]["more"])
    assert {row["sample"] for row in result["rows"]} == set(ants[22:26].tolist())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "expected one of --confusion and --like, found none"),
        (["--like", "1", "--confusion", "ant", "bee"], "found both"),
        (["--confusion", "ant", "bee", "--unlike", "1"], "expected --unlike beside --like"),
        (["--confusion", "ant", "dog"], "expected a class of"),
        (["--confusion", "ant", "ant"], "expected two classes"),
        (["--like", "9999"], "expected samples with an embedding"),
        (["--like", "1,x"], "expected numbers of samples"),
    ],
)
def test_what_is_wrong_is_one_line(run, options, sentence, capsys):
    assert main(["more", str(run[0].path), *options]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_a_run_without_embeddings_says_so(run):
    (run[0].path / "embeddings.safetensors").unlink()
    with pytest.raises(LossprintError, match="expected a run with embeddings"):
        more.like(run[0], [1])
