"""What leaves a run of texts: the report and Label Studio's tasks speak of texts, and show them."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import text_runs

from lossprint.audit.export import exchange, labelstudio
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.report.write import report_bytes
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow.score import score


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return text_runs.labelled_run(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    return text_runs.instructions_run(tmp_path_factory.mktemp("chats"))


@pytest.fixture(scope="module")
def decided(labelled):
    """Two reviewers, who agree on some and differ on others; a comment speaks of an image."""
    run = labelled[2]
    kept, samples = open_reviews(run), run.samples().set_index("sample")
    found = run.findings()
    for at, group in enumerate(found.loc[found["kind"] == "label_error", "group"].unique()[:6]):
        sample = int(group.partition(":")[2])
        new = next(name for name in run.classes if name != samples.at[sample, "label"])
        said = {"finding": group, "sample": sample, "comment": "an image" if at == 0 else ""}
        kept.add(**said, decision="relabel", new_label=new, reviewer="ann")
        kept.add(**said, decision="relabel" if at % 2 else "exclude", new_label=new if at % 2 else None, reviewer="bob")
    return run


def seen(page: str) -> str:
    """What a reader of the page sees of our own words: without tags, style, the texts themselves and comments."""
    page = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.S)
    page = re.sub(r'<div class="text">.*?</div>', "", page, flags=re.S)
    return re.sub(r"<[^>]*>", " ", page).replace("an image", "", 1)


def test_the_report_shows_the_texts(labelled, chats):
    page = report_bytes(labelled[2]).decode()
    assert '<div class="text"><p dir="auto">' in page and "<img" not in page and "Wrong labels" in page
    found = page[page.index('id="found"') :]
    assert (
        "The same words are in the dataset more than once" in found
        and "pixels" not in found[: found.index("</section>")]
    )
    assert "<b>Assistant</b>" in report_bytes(chats[2]).decode()


def test_a_text_is_text_in_the_report(tmp_path):
    splits = ["train"] * 20 + ["val"] * 4
    texts = [f"{text_runs.HOSTILE} {at // 2}" if at < 20 else f"other {at}" for at in range(24)]
    rows = [{"text": text, "label": "ab"[at % 2], "split": splits[at]} for at, text in enumerate(texts)]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recorder = Recorder(tmp_path / "run", str(path))
    for epoch in range(1, 5):
        recorder.update(np.arange(24), np.linspace(0.1, 2, 24) / epoch)
        recorder.end_checkpoint(epoch)
    page = report_bytes(score(recorder.finish().path)).decode()
    assert "<script" not in page and "<img src=x" not in page and "&lt;img src=x onerror=" in page


def test_no_section_of_the_report_speaks_of_images(decided, chats):
    for run in (decided, chats[2]):
        told = seen(report_bytes(run).decode())
        assert "training texts" in told
        assert not re.findall(r".{60}(?:[Ii]mage|[Pp]icture|pixel).{40}", told)
    assert "texts that were flagged or chosen to be shared" in seen(report_bytes(decided).decode())


def test_tasks_hold_the_texts_and_come_back(decided, labelled, tmp_path):
    count, beside = labelstudio.write_tasks(decided, tmp_path / "t.json")
    labelstudio.write_tasks(decided, tmp_path / "t.json")  # over the earlier ones
    tasks = json.loads((tmp_path / "t.json").read_text())
    texts = {row["id"]: row["text"] for row in map(json.loads, labelled[0].read_text().splitlines())}
    assert count == len(tasks) > 5
    assert all(task["data"]["text"] == texts[task["data"]["path"]] and "image" not in task["data"] for task in tasks)
    controls = ElementTree.parse(beside).getroot()
    assert controls.find("Text").attrib == {"name": "text", "value": "$text"} and controls.find("Image") is None
    parts = [part for task in tasks for said in (*task["predictions"], *task["annotations"]) for part in said["result"]]
    assert {part["to_name"] for part in parts} == {"text"}
    assert {node.get("toName") for node in controls} == {None, "text"}
    with open_reviews(decided) as kept:
        plan = exchange.plan(decided, (tmp_path / "t.json").read_bytes(), "t.json", None, kept)
    assert not plan.decisions, "they are there already"


def test_tasks_of_texts_that_were_changed_are_refused(tmp_path):
    path, _ = text_runs.labelled(tmp_path)
    run = text_runs.record_labelled(path, tmp_path / "run")
    path.write_text(path.read_text().replace("the", "teh"))
    with pytest.raises(LossprintError, match="found that they were changed"):
        labelstudio.tasks_bytes(run)
