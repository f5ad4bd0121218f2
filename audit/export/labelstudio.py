"""Label Studio's JSON: tasks with our suggestion as a prediction and each reviewer's decision as an annotation.

Format: Label Studio's guide, "Task format" and "Import pre-annotated data" (the same for its releases 1.0 to 1.2x); the
flat JSON-MIN that it exports beside it. Label Studio refuses an annotation whose `completed_by` is no member of the
project, so who decided is kept in the result's `meta`, which it stores and exports as it is.

Controls: `label` (one of the classes), `verdict` (`exclude` or `unsure`, which are no labels) and `comment`.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
import pandas as pd

from lossprint.audit.datasets.dataset import sample_reader
from lossprint.audit.datasets.media import IMAGES, media_of
from lossprint.audit.datasets.paths import Spelled
from lossprint.audit.export import outfile
from lossprint.audit.review.resolve import adjudications, votes
from lossprint.audit.review.reviews import Reviews, open_reviews
from lossprint.audit.runs.open import version
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError

LOCAL = "/data/local-files/?d="  # where Label Studio serves files of its own machine, followed by a path
VERDICTS = ("exclude", "unsure")
CONTROLS = ("label", "choice")  # whose choices are labels: ours, and the one of Label Studio's own template
STARTS = {
    ".json": (b'[\n{"data": {',),
    ".xml": (b"<View>\n  <Image name=", b"<View>\n  <Text name="),
}  # of what we write
NOT_A_CHOICE = {
    "id",
    "annotator",
    "annotation_id",
    "created_at",
    "updated_at",
    "lead_time",
    "agreement",
    "image",
    "text",
    "path",
}
NOT_A_CHOICE |= {"sample", "split", "given_label", "suggested_label", "finding", "comment", "verdict"}


@dataclass(frozen=True)
class Said:
    """What one annotation says. `label`: the choice, None without one; `verdict`: exclude, unsure or None.

    copied: whether the label may be a copy of the given one, in a list of ours, that nobody has edited. control:
    that of Label Studio which has the label, None in a CSV.
    """

    place: str
    data: dict
    label: str | None
    verdict: str | None
    reviewer: str | None
    comment: str = ""
    at: str = ""
    meta: dict | None = None  # of an annotation that we wrote and nobody has edited since
    truth: bool = False  # marked as ground truth
    copied: bool = False
    control: str | None = None


# ------------------------------------------------------------------------------------------------------------ writing


def tasks(run: Run, reviews: Reviews | None = None, *, prefix: str = LOCAL) -> list[dict]:
    """A task for each sample with a finding or a standing decision, by sample.

    `data` has image (`prefix` and the percent-encoded path) or, of a dataset of texts, text; path, sample, split,
    given_label, suggested_label and finding (the most severe one, or None). The prediction is the label that a finding
    suggests, its score the model's probability of its own suggestion, in [0, 1]. Annotations are each reviewer's latest
    decision, and the adjudication if there is one, marked as ground truth.
    """
    history = (reviews or open_reviews(run)).history()
    said = pd.concat([votes(history), adjudications(history)]).sort_values("id") if len(history) else history
    found = run.findings().sort_values(["severity", "rank"], ascending=[False, True], kind="stable")
    names = found.drop_duplicates("sample").set_index("sample")["group"].to_dict()
    ids = sorted({*found["sample"].tolist(), *said["sample"].tolist()})
    samples = run.samples(ids).set_index("sample")
    lost = next((sample for sample in ids if sample not in samples.index), None)
    if lost is not None:
        raise LossprintError(f"expected findings and decisions on the samples of {run.path}, found some on {lost}")
    samples = samples.loc[ids]
    suggested, score = _suggestions(run, found, ids)
    by_sample: dict[int, list] = {}
    for row in said.itertuples():
        by_sample.setdefault(row.sample, []).append(row)
    about_dataset = run.manifest["dataset"]
    made, model, kind = [], f"lossprint {version()}", media_of(about_dataset).noun
    read = None if kind == IMAGES.noun else sample_reader(dataset_of(run))
    for sample, row in zip(ids, samples.itertuples()):
        about = {kind: prefix + quote(row.path) if read is None else read(row.path)}
        about |= {"path": row.path, "sample": sample, "split": row.split}
        about |= {"given_label": row.label, "suggested_label": suggested.get(sample), "finding": names.get(sample)}
        predictions = []
        if suggested.get(sample, row.label) != row.label:
            result = [_choice(f"p{sample}", "label", suggested[sample], kind)]
            predictions = [{"model_version": model, "score": score[sample], "result": result}]
        annotations = [_annotation(one, row.label, kind) for one in by_sample.get(sample, [])]
        made.append({"data": about, "predictions": predictions, "annotations": annotations})
    return made


def tasks_bytes(run: Run, reviews: Reviews | None = None, *, prefix: str = LOCAL) -> bytes:
    """`tasks` as a file for Label Studio's import: the same decisions give the same bytes."""
    return _json(tasks(run, reviews, prefix=prefix))


def _json(made: list[dict]) -> bytes:
    lines = ",\n".join(
        json.dumps(task, ensure_ascii=False) for task in made
    )  # with indent, Python's slow encoder writes
    return outfile.encoded(f"[\n{lines}\n]\n", "Label Studio's JSON")


def write_tasks(run: Run, out: str | Path, reviews: Reviews | None = None, *, prefix: str = LOCAL) -> tuple[int, Path]:
    """Write `tasks` to FILE.json and `config` to FILE.xml beside it; returns how many tasks, and FILE.xml.

    Raises LossprintError where they cannot be written, and where another file of the dataset's folder is in the way.
    """
    out = Path(out)
    beside = out.with_suffix(".xml")

    def earlier(file: Path) -> bool:
        with open(file, "rb") as opened:
            return opened.read(40).startswith(STARTS[file.suffix.lower()])

    for file in (out, beside):
        outfile.refuse(run, file, (".json",) if file is out else (".xml",), earlier)
    made = tasks(run, reviews, prefix=prefix)
    outfile.write(out, _json(made))
    reviews = reviews or open_reviews(run)
    outfile.write(
        beside, outfile.encoded(config(reviews.classes(), media_of(run.manifest["dataset"]).noun), str(beside))
    )
    return len(made), beside


def config(classes: list[str], kind: str = "image") -> str:
    """The labelling configuration of the tasks, to be pasted into Label Studio under Settings, Labeling Interface."""
    choices = "\n".join(f"    <Choice value={quoteattr(_xml(label))}/>" for label in classes)
    shown = '<Text name="text" value="$text"/>'
    if kind == "image":
        shown = '<Image name="image" value="$image" zoom="true"/>'
    return f"""<View>
  {shown}
  <Choices name="label" toName="{kind}" choice="single-radio" showInline="true">
{choices}
  </Choices>
  <Choices name="verdict" toName="{kind}" choice="single" showInline="true">
    <Choice value="exclude"/>
    <Choice value="unsure"/>
  </Choices>
  <TextArea name="comment" toName="{kind}" editable="true" maxSubmissions="1"/>
</View>
"""


def _xml(text: str) -> str:
    """XML 1.0 has no way to write most control characters."""
    return "".join(char if char >= " " or char in "\t\n\r" else "\ufffd" for char in text)


def _suggestions(run: Run, found: pd.DataFrame, ids: list[int]) -> tuple[dict[int, str], dict[int, float]]:
    """The label that the most severe finding with one suggests, and how sure the model was of its own suggestion."""
    named = found[found["suggested_label"].notna()].drop_duplicates("sample")
    scores = run.scores().set_index("sample").reindex(ids)
    number = np.full(len(ids), np.nan)
    for name in ("suggested_probability", "label_error"):
        if name in scores:
            number = np.where(np.isnan(number), scores[name].to_numpy(float), number)
    number = np.round(np.clip(np.nan_to_num(number), 0.0, 1.0), 6)
    return dict(zip(named["sample"].tolist(), named["suggested_label"].astype(str))), dict(zip(ids, number.tolist()))


def _choice(name: str, control: str, value: str, kind: str) -> dict:
    return {"id": name, "from_name": control, "to_name": kind, "type": "choices", "value": {"choices": [value]}}


def _annotation(row, given: str, kind: str) -> dict:
    label = None if row.decision in VERDICTS else given if row.decision == "keep" else row.new_label
    control, value = ("verdict", row.decision) if label is None else ("label", label)
    about = {"review": int(row.id), "reviewer": row.reviewer, "at": row.at, "decision": row.decision}
    about |= {"value": value, "finding": row.finding, "blind": row.blind, "role": row.role, "comment": row.comment}
    result = [_choice(f"r{row.id}", control, value, kind) | {"meta": {"lossprint": about}}]
    if row.comment:
        result.append(
            {
                "id": f"c{row.id}",
                "from_name": "comment",
                "to_name": kind,
                "type": "textarea",
                "value": {"text": [row.comment]},
            }
        )
    return {
        "result": result,
        "was_cancelled": False,
        "ground_truth": row.role == "adjudication",
        "created_at": row.at,
        **({} if pd.isna(row.seconds) else {"lead_time": round(float(row.seconds), 3)}),
    }


# ------------------------------------------------------------------------------------------------------------ reading


def read(content: object, classes: list[str]) -> tuple[list[Said], int]:
    """What the annotations of an export say, in its order, and how many say nothing (skipped, or without a choice).

    content: the parsed JSON, a list of tasks with `annotations` (JSON) or of flat records (JSON-MIN). `place` counts
    tasks from 1. Raises LossprintError where it is neither.
    """
    if isinstance(content, dict) and ("annotations" in content or "annotation_id" in content):
        content = [content]
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise LossprintError("expected a list of Label Studio tasks, found something else")
    if any("annotations" in task or "completions" in task for task in content):
        said = [one for at, task in enumerate(content, 1) for one in _task(task, at)]
    elif content and all("annotation_id" in task or "annotator" in task for task in content):
        said = _flat(content, classes)
    else:
        raise LossprintError("expected Label Studio tasks with annotations, found none")
    kept = [one for one in said if one is not None and (one.label is not None or one.verdict is not None)]
    return kept, len(said) - len(kept)


def _task(task: dict, at: int) -> list[Said | None]:
    found = task.get("annotations", task.get("completions"))
    if not isinstance(found, list) or not isinstance(task.get("data"), dict):
        raise LossprintError(f"expected data and a list of annotations in task {at}, found something else")
    return [_said(one, task["data"], f"task {at}, annotation {number}") for number, one in enumerate(found, 1)]


def _said(one: object, data: dict, place: str) -> Said | None:
    if not isinstance(one, dict) or not isinstance(one.get("result", []), list):
        raise LossprintError(f"expected an annotation with a list as its result in {place}, found something else")
    if one.get("was_cancelled"):
        return None
    values, texts, meta = {}, [], None
    for part in one.get("result", []):
        value = part.get("value") if isinstance(part, dict) else None
        if not isinstance(value, dict):
            continue
        control, choices, text = part.get("from_name"), value.get("choices"), value.get("text")
        if isinstance(choices, list) and choices:
            values[control] = _only(choices, place)
            about = part.get("meta")
            about = about.get("lossprint") if isinstance(about, dict) else None
            if isinstance(about, dict) and about.get("value") == values[control]:
                meta = about  # otherwise somebody has chosen another label since: it is that person's decision
        elif part.get("type") == "textarea" and isinstance(text, (list, str)):
            texts += [text] if isinstance(text, str) else [line for line in text if isinstance(line, str)]
    verdict = values.pop("verdict", None) if values.get("verdict") in VERDICTS else None
    if len(values) > 1 and "label" not in values:
        raise LossprintError(
            f"expected one control with choices, or one named label, found {', '.join(map(str, values))} in {place}"
        )
    control = "label" if "label" in values else next(iter(values), None)
    label = values.get(control)
    at = one.get("updated_at") or one.get("created_at") or ""
    said = Said(place, data, label, verdict, _user(one.get("completed_by")), "\n".join(texts), str(at))
    return _with_meta(replace(said, control=control), meta, bool(one.get("ground_truth")))


def _with_meta(said: Said, meta: dict | None, truth: bool) -> Said:
    changed = {**said.__dict__, "truth": truth}
    if meta is not None:
        changed |= {"meta": meta, "at": str(meta.get("at") or said.at)}
        if isinstance(meta.get("reviewer"), str) and meta["reviewer"].strip():
            changed["reviewer"] = meta["reviewer"]
    return Said(**changed)


def _only(choices: list, place: str) -> str:
    if len(choices) != 1 or not isinstance(choices[0], str):
        raise LossprintError(f"expected one choice in {place}, found {len(choices)}: {str(choices)[:100]}")
    return choices[0]


def _user(who: object) -> str | None:
    """An annotator's e-mail, name or number, as Label Studio gives it."""
    if isinstance(who, dict):
        names = " ".join(str(who.get(part) or "") for part in ("first_name", "last_name")).strip()
        who = who.get("email") or who.get("username") or names or who.get("id")
    if isinstance(who, bool) or who is None or who == "":
        return None
    return f"Label Studio user {who}" if isinstance(who, int) or str(who).isdigit() else str(who)


def _flat(content: list[dict], classes: list[str]) -> list[Said | None]:
    control = _control(content, Spelled(classes))
    said = []
    for at, record in enumerate(content, 1):
        place = f"task {at}"
        value, verdict, comment = record.get(control), record.get("verdict"), record.get("comment")
        label = None if value is None or value == "" else _only(_listed(value), place)
        verdict = None if not verdict else _only(_listed(verdict), place)
        when = str(record.get("updated_at") or record.get("created_at") or "")
        verdict = verdict if verdict in VERDICTS else None
        comment = comment if isinstance(comment, str) else ""
        who = _user(record.get("annotator"))
        said.append(Said(place, record, label, verdict, who, comment, when, control=control))
    return said


def _listed(value: object) -> list:
    return value if isinstance(value, list) else value.get("choices", []) if isinstance(value, dict) else [value]


def _control(content: list[dict], classes: Spelled) -> str:
    """The key of flat records that holds the choice: ours, or the only one with labels of the run."""
    keys = [key for key in dict.fromkeys(key for record in content for key in record) if key not in NOT_A_CHOICE]
    for name in CONTROLS:
        if name in keys:
            return name

    def labels(key: str) -> bool:
        return any(isinstance(record.get(key), str) and classes.like(record[key]) for record in content)

    found = [key for key in keys if labels(key)]
    if len(found) == 1:
        return found[0]
    if not found and any("verdict" in record for record in content):
        return "label"
    raise LossprintError(
        f"expected one field with labels of the run, such as label or choice, found {', '.join(found or keys)[:200]}"
    )
