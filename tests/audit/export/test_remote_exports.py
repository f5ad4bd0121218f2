"""What is exported of a run whose images are in a bucket, a real S3 server's."""

import json

import pandas as pd
import pytest
from helpers import make_run

from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.datasets import dataset
from lossprint.audit.export import export, manifests
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import places
from lossprint.audit.runs.open import open_run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def made(s3, tmp_path_factory):
    """A whole run on this machine, told that its dataset is at s3://exports/data, where it is."""
    run = make_run(tmp_path_factory.mktemp("made"))
    s3.bucket("exports")
    s3.upload(run.path.parent / "data", "exports", "data/")
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    manifest["dataset"] |= {"source": "s3://exports/data/labels.csv", "root": "s3://exports/data", "kind": "remote"}
    file.write_text(json.dumps(manifest))
    places.confirm(open_run(run.path))
    return open_run(run.path)


def test_decisions_are_exported(made, machine, tmp_path):
    """The cleaned images byte by byte, and the manifest, corrected."""
    machine("exporter")
    data = made.path.parent / "data"
    given = pd.read_csv(data / "labels.csv", dtype=str)
    with open_reviews(made) as reviews:
        told = {"finding": "label_error:1", "sample": 1, "reviewer": "ann"}
        reviews.add(decision="relabel", new_label="shirt", **told)
        export.write_cleaned(applied(made), tmp_path / "tree")
        out, record = manifests.write_manifest(applied(made), tmp_path / "labels.csv")
    tree = pd.read_csv(tmp_path / "tree" / "labels.csv", dtype=str)
    assert len(tree) == len(given)
    for row in tree.itertuples():
        assert (tmp_path / "tree" / row.path).read_bytes() == (data / row.source).read_bytes()
    changed = pd.read_csv(out, dtype=str)
    assert record["relabelled"] == 1 and list(changed["path"]) == list(given["path"])
    assert (changed["label"] != given["label"]).sum() == 1 and changed["label"][1] == "shirt"


def test_a_coreset_as_a_manifest_opens_on_any_machine(made, machine, tmp_path):
    machine("exporter")
    source = coresets.source_of(applied(made), methods=("random",))
    ask = coresets.Ask(method="random", fraction=0.5)
    frame = coresets.choose(source, ask)
    coresets.write_manifest(source, frame, tmp_path / "half.csv", coresets.record_of(made, source, ask, frame))
    half = dataset.open_dataset(tmp_path / "half.csv")
    assert half.kind == "remote" and half.samples["path"].str.startswith("s3://exports/data/images/").all()
    assert (half.samples["split"] == "train").sum() == len(frame)
