"""Writes the pages that follow from the code: scores.md and reference/. `make reference`; a test says if they lag."""

import ast
import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import click

from lossprint import scoring

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/make_reference.py: change the docstrings, then `make reference`. -->\n\n"
# page -> (title, module -> what of it; None: all that is public)
PYTHON = {
    "python": (
        "The names of lossprint",
        {
            "lossprint": [
                *("open_run", "run_audit", "score", "Run", "LossPrints", "cleaned", "Cleaned", "choose_coreset"),
            ],
            "lossprint.audit.export.items": ["Items"],
        },
    ),
    "recording": (
        "Recording and reading a run",
        {
            "lossprint.audit.recording.recorder": ["Recorder"],
            "lossprint.audit.recording.per_sample": None,
            "lossprint.audit.runs.open": ["open_run"],
            "lossprint.audit.runs.run": ["Run"],
            "lossprint.audit.types": ["Trajectory", "LossprintError"],
            "lossprint.audit.datasets.dataset": ["open_dataset", "load", "Dataset", "Loaded"],
        },
    ),
    "scoring": (
        "Scores as functions on arrays",
        {
            "lossprint.scoring": scoring.__all__,
            "lossprint.scoring.labels": ["LabelErrors"],
            "lossprint.scoring.pairs": ["Partners"],
            "lossprint.scoring.correlation": ["Undefined"],
            "lossprint.scoring.input_curvature": ["CurvatureScores"],
            "lossprint.scoring.duplicates": ["Pairs"],
            "lossprint.scoring.coresets.coreset": ["Chosen"],
        },
    ),
}

# The columns beside the scores: no score of their own, so without an entry in SCORES.
BESIDE = """\
## Beside the scores

`triage` sorts samples by `label_error`. *Wrong*: one other label was ahead steadily and with confidence. *Ambiguous*:
another was ahead, but not so. *Hard*: the given label was ahead, with less than half of the probability. Do not trust
it as a verdict: it is a reading order.

`rank_confidence` is the share of 100 draws of the checkpoints (and seeds) in which the sample stays among the flagged.
Do not trust it as the probability of a wrong label.

`suggested_label` is the label to put instead of the given one, `suggested_probability` its mean probability over the
checkpoints.

*Image quality* (findings of the kind `quality`, measures in `quality.parquet`) asks which images look unlike the rest,
whatever they show: *dark* (99th percentile of the grey levels), *bright* (their 5th), *blurry* (deviation of the
Laplacian to that of the grey levels), *low information* (their entropy), *odd size*, *odd aspect*, and *grey* among
colour. The fence is the dataset's own: three quartile ranges beyond the quartiles (Tukey 1977), and no less than a
difference that can be seen; fewer than 20 images are not judged, frames of videos are measured and not listed. The page
also says which classes a measure alone tells from the others (AUROC with the interval of Hanley and McNeil 1982, .8 or
more by its lower end): a network may learn that in place of the class. Do not trust it as a doubt of the label: a night
scene is dark and right."""
# Every file of a run.
FOLDER = """\
RUN/
  run.json             what was asked, versions, seed, dataset fingerprint, stages done
  checksums.json       size and digest of every file that a finished stage left
  samples.parquet      sample, path, label, split, sequence, frame        unreadable.parquet   path, reason
  further.parquet      sample and the manifest's further columns, such as patient or camera, where it has any
  trajectories/split=train/checkpoint=00003/rank-0.parquet                sample, loss, margin, predicted, el2n
  members/seed=00001/trajectories/...  members/fold=000/...               further trainings: --seeds, --folds
  members/view=frozen/trajectories/... of two views: the head on frozen features
  checkpoints/00003.safetensors       embeddings.safetensors
  head.parquet         of frozen features: sample, suspicion, suggested, probability, ..., flagged, certain
  curvature/checkpoint=00003/rank-0.parquet                               sample, curvature, trace, gradient_norm
  scores.parquet       one row a training sample, one column a score
  duplicates.parquet   sample, partner, kind (exact / near), similarity
  aside.parquet        images without a label: path, split, and the sample that each is a copy of, -1 for none
  quality.parquet      sample, width, height, brightness and so on of each image, and whether it stands out
  layout.parquet       sample, x, y: where it lies on the map of what is alike (run.json says of what, and how)
  findings.parquet     kind, sample, path, label, suggested_label, severity, rank, group
  pairs.parquet        sample, partner, partner_split, correlation, side, rank, scope (own class / all)
  frames.parquet       of videos: sample, sequence, frame, split, label, suggested_label, suggested_frame, p_given, ...
  spans.parquet        findings in them: span, kind, how (relabel / swap / move), sequence, start, middle, end, ...
  timeline.safetensors temporal/fold=000.safetensors                      what was seen over time, and by which networks
  reviews.db           the reviewers' decisions, append-only; assignments; tags, queues and saved views
  .sync.json           what was the same here and at the URL when the run was copied last; without a copy not there
  evaluation.parquet   held-out accuracy after training on coresets, overlap.parquet what they share
  selections/          coresets kept under a name, CSV and record
  comparison.parquet   predictions after training on given, cleaned and thinned data (audit --from)
  exports/
  checks/              of `lossprint check`, a batch each: NAME.json, and NAME.parquet with a row an image
  description.txt      what the run is about, in the words of its owner
  repair.json          of `lossprint repair`: accuracies, intervals and what follows
  responses.parquet    of prompt/response pairs: sample, tokens, loss, alone (without the prompt)
  votes.parquet        annotators' votes: sample, annotator, label; what counting them gives:
  consensus.parquet    annotators.parquet   counted.parquet
  exposure.parquet     of `lossprint exposure`: sample, rank, exposure, final_loss, learnt
  memorization.parquet of `lossprint memorization`: sample, memorization, error, inside, outside"""


def pages() -> dict[str, str]:
    """Every generated page by its path under docs/."""
    return {
        "scores.md": scores(),
        "reference/command-line.md": command_line(),
        "reference/json.md": json_results(),
        "reference/run-folder.md": run_folder(),
        **{f"reference/{name}.md": python(title, parts) for name, (title, parts) in PYTHON.items()},
    }


def scores() -> str:
    from lossprint.app.shared.help import FORMULAS, NOTATION, PAPERS, SYMBOLS
    from lossprint.audit.scores import SCORES

    text = [
        "# Scores, and when not to trust them",
        NOTE.strip(),
        NOTATION,
        "One row a training sample in `scores.parquet`, one column a score. How well each of them finds what was "
        "planted, and the wrong labels of human annotators, is [measured](measured/index.md).",
    ]
    for name, about in SCORES.items():
        paper, link = PAPERS[name]
        suspect = {"none": "Neither end is suspect."}.get(about.suspect, f"Suspect: {about.suspect}.")
        text += [
            f"## {about.title} (`{name}`)",
            about.meaning,
            f"$$\n{FORMULAS[name]}\n$$",
            *([SYMBOLS[name]] if name in SYMBOLS else []),
            f"{suspect} Unit: {about.unit}.",
            f"**Do not trust it blindly:** {about.caution}",
            f"Source: {f'[{paper}]({link})' if link else paper}.",
        ]
    return "\n\n".join([*text, BESIDE]) + "\n"


def command_line() -> str:
    from lossprint.audit.cli.main import program

    text = [
        "# Command line",
        NOTE.strip(),
        "Exit status: 0 done; 2 wrong use or bad input, said in one line: what was expected, what was found, where; 3 "
        "over a limit of `--fail-on`; 1 anything else. With `--json` a command prints [one object](json.md).",
        "Completion of commands, options and files by the Tab key, here for bash (or `zsh_source`, `fish_source`): "
        '`eval "$(_LOSSPRINT_COMPLETE=bash_source lossprint)"`.',
    ]
    for context in _commands(click.Context(program, info_name="lossprint")):
        rows = [param.get_help_record(context) for param in context.command.params]
        text += [f"## {context.command_path}", " ".join(context.command.help.split())]
        text.append("\n".join(["| argument | |", "| --- | --- |", *(_row(*row) for row in rows)]) if rows else "")
        text.append(context.command.epilog)
    return "\n\n".join(part for part in text if part) + "\n"


def json_results() -> str:
    from lossprint.audit.check.looked_for import KINDS
    from lossprint.audit.findings.limits import NAMES

    schema = json.loads((HERE.parent / "audit" / "cli" / "results.schema.json").read_text(encoding="utf-8"))
    text = [
        "# JSON and limits, for pipelines",
        NOTE.strip(),
        "With `--json` a command prints one object on one line to standard output, and nothing else there; what went "
        "wrong is still one line on standard error. Beside the fields below each has `lossprint`, the version, and "
        "`command`. Paths are absolute, what is missing is null. Fields may be added, and stay what they are. "
        "[The schema](https://json-schema.org/draft/2020-12/schema) is `audit/cli/results.schema.json`.",
        "## `--fail-on`",
        "`lossprint audit`, `import`, `record`, `score` and `findings` end with status 3 where more is found than "
        "`--fail-on` allows: `--fail-on 'label_error>50,duplicate>0,unmeasured>0'`. A limit is `NAME>NUMBER` or "
        "`NAME>=NUMBER`; `2%` is a share of the training samples. Names: "
        f"{', '.join(f'`{name}`' for name in NAMES)}. `findings` are all kinds together, `unmeasured` the training "
        "samples that could not be judged fully, `unreadable` the images left out. Not measured is not clean: a sample "
        "without the score of a kind counts as if found, and a kind that was not looked for is over every limit. "
        "`lossprint findings RUN --open` leaves out what a reviewer has decided on.",
        "`lossprint check` has names of its own, and shares of the batch: "
        f"{', '.join(f'`{name}`' for name in (*KINDS, 'unmeasured'))}.",
    ]
    sections: dict[str, list[str]] = {}
    for name, about in schema["commands"].items():
        fields = ((field, what) for field, what in about["properties"].items() if field not in ("lossprint", "command"))
        rows = [_row(field, what.get("description", "")) for field, what in fields]
        sections.setdefault("\n".join(["| field | |", "| --- | --- |", *rows]), []).append(f"`lossprint {name}`")
    for table, names in sections.items():
        text += [f"## {', '.join(names)}", table]
    return "\n\n".join(text) + "\n"


def _row(*cells: str) -> str:
    name, words = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| `{name}` | {words} |"


def _commands(context: click.Context) -> Iterator[click.Context]:
    """Each command that does something, in order."""
    if not isinstance(context.command, click.Group):
        yield context
        return
    for name, command in context.command.commands.items():
        yield from _commands(click.Context(command, parent=context, info_name=name))


def run_folder() -> str:
    from lossprint.audit.runs import tables
    from lossprint.audit.scores import SCORES

    schemas = {
        "trajectories/split=SPLIT/checkpoint=NNNNN/rank-R.parquet": tables.PART.append(tables.OPTIONAL),
        "curvature/checkpoint=NNNNN/rank-R.parquet": tables.CURVATURE,
        "head.parquet": tables.HEAD,
        "quality.parquet": tables.QUALITY,
        "frames.parquet": tables.FRAMES,
        "spans.parquet": tables.SPANS,
        "responses.parquet": tables.RESPONSES,
        "consensus.parquet": tables.CONSENSUS,
        "annotators.parquet": tables.ANNOTATORS,
        "checks/NAME.parquet": tables.CHECKED,
        "exposure.parquet": tables.EXPOSURE,
        "memorization.parquet": tables.MEMORIZATION,
    }
    text = [
        "# The run folder",
        NOTE.strip(),
        "Open formats, nothing pickled: pandas, DuckDB, Polars or Spark read a run as it stands. Every file is written "
        "beside its name and renamed when it is whole; `run.json` is written last and names the stages that are done.",
        f"```text\n{FOLDER}\n```",
        '`lossprint.open_run("runs/demo")` reads it: its `.scores()` is a DataFrame, `.trajectory("train").losses` an '
        "array (samples, checkpoints).",
        "Losses are in nats. `predicted`, a class index, points into the list `dataset.classes` of `run.json`.",
    ]
    for name, schema in schemas.items():
        rows = "\n".join(f"| `{field.name}` | {field.type} |" for field in schema)
        text += [f"## `{name}`", f"| column | type |\n| --- | --- |\n{rows}"]
    for name, columns in (("findings.parquet", tables.FINDINGS), ("pairs.parquet", tables.PAIRS)):
        text += [f"## `{name}`", ", ".join(f"`{column}`" for column in columns)]
    rows = "\n".join(f"| `{name}` | {about.title} | {about.unit} | {about.suspect} |" for name, about in SCORES.items())
    text += [
        "## `scores.parquet`",
        "`sample`, `path`, `label`, `suggested_label`, `suggested_probability`, `triage`, `rank_confidence`, and:",
        f"| column | score | unit | suspect |\n| --- | --- | --- | --- |\n{rows}",
    ]
    return "\n\n".join(text) + "\n"


def python(title: str, parts: dict[str, list[str] | None]) -> str:
    text = [f"# {title}", NOTE.strip()]
    for module_name, names in parts.items():
        module = __import__(module_name, fromlist=["_"])
        text += [f"## `{module_name}`", *([_prose(module.__doc__)] if names is None or module is scoring else [])]
        for name in names if names is not None else _public(module):
            text += _member(name, getattr(module, name))
    return "\n\n".join(text) + "\n"


def _public(module) -> list[str]:
    own = {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__ and thing.__doc__
    }
    return [name for name, thing in own.items() if inspect.isclass(thing) or isinstance(thing, FunctionType)]


def _member(name: str, thing) -> list[str]:
    text = [f"### `{name}`"]
    if not inspect.isclass(thing) or not dataclasses.is_dataclass(thing):
        text.append(f"```text\n{name}{_signature(thing)}\n```")
    text.append(_prose(thing.__doc__))
    if inspect.isclass(thing):
        for method_name, method in vars(thing).items():
            real = method.fget if isinstance(method, property) else method
            if method_name.startswith("_") or not isinstance(real, FunctionType) or not real.__doc__:
                continue
            shown = f"`.{method_name}`" if isinstance(method, property) else f"`.{method_name}{_signature(real)}`"
            text.append(f"- {shown}: {_prose(real.__doc__, '  ')}")
    return text


def _signature(thing) -> str:
    """The arguments as the source has them: how `inspect` shows annotations changes with Python."""
    if inspect.isclass(thing) and "__init__" not in vars(thing):
        return ""
    source = textwrap.dedent(inspect.getsource(thing.__init__ if inspect.isclass(thing) else thing))
    (definition,) = ast.parse(source).body
    arguments = definition.args
    if arguments.args and arguments.args[0].arg == "self":
        del arguments.args[0]
    back = f" -> {ast.unparse(definition.returns)}" if definition.returns and not inspect.isclass(thing) else ""
    return f"({ast.unparse(arguments)}){back}"


def _prose(doc: str | None, margin: str = "") -> str:
    """A docstring as Markdown; what is indented in it stays as it stands, as a block of text."""
    parts = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(doc or "")):
        lines = part.splitlines()
        if lines and all(line.startswith("    ") for line in lines):
            parts.append("\n".join(["```text", *(line[4:] for line in lines), "```"]))
        elif any(line.startswith("    ") for line in lines):
            parts.append("\n".join(["```text", *lines, "```"]))
        else:
            parts.append("\n".join(lines))
    return f"\n\n{margin}".join(part.replace("\n", f"\n{margin}") for part in parts)


if __name__ == "__main__":
    for path, page in pages().items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_text(page, encoding="utf-8")
        print(path)
