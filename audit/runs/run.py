"""The run folder: the only module that knows its file names.

Every file is written beside its name and renamed when whole, and run.json is rewritten last at the end of each stage:
a stage named in it is complete. Nothing is pickled.
"""

import json
import os
import platform
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.runs import checked, checksums
from lossprint.audit.runs.mirror import place as place_of
from lossprint.audit.runs.ranges import Between, RangeFiles, within, write_sorted
from lossprint.audit.runs.selections import SelectionFiles
from lossprint.audit.runs.tables import (
    CURVATURE,
    FRAMES,
    LOOKUP_ROWS,
    OPTIONAL,
    PAIRS,
    PART,
    SPANS,
    findings_table,
    read_part,
)
from lossprint.audit.runs.tensors import TensorFiles
from lossprint.audit.system.atomic import (
    names,
    needed,
    refuse_pipe,
    remove,
    sweep,
    write_frame,
    write_table,
    write_text,
)
from lossprint.audit.types import Finding, LossprintError, one_line

FORMAT = 1
WHOLE = "rank-0.parquet"  # of a checkpoint's parts, one a process, the one that is written when all others are there
VIDEO_FRAMES = "frames"  # the folder of a dataset that was decoded into the run folder, and moves with it
PLACES = ("source", "root")  # of a dataset, in run.json
STAGES = tuple(checksums.STAGES)
SURE = {"page_checksum_verification": True}  # a page that is not as it was written is refused


def version() -> str:
    """The installed version of lossprint."""
    return metadata.version("lossprint")


@dataclass(frozen=True)
class Run(TensorFiles, SelectionFiles, RangeFiles):
    """An opened run folder. `manifest` is run.json as it was when the run was opened or last written."""

    path: Path
    manifest: dict
    home: Path | None = None  # of a member: the folder that holds samples.parquet

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def classes(self) -> list[str]:
        return self.manifest["dataset"]["classes"]

    @property
    def task(self) -> str:
        """What the losses are of, see `tasks`: classes, multi-label, regression or text."""
        return self.manifest["dataset"].get("task", "classes")

    @property
    def stages(self) -> list[str]:
        return self.manifest["stages"]

    # Tables ---------------------------------------------------------------------------------------------------

    def samples(self, only: list[int] | None = None, columns: list[str] | None = None) -> pd.DataFrame:
        """All samples of all splits, or some: sample, path, label, split, sequence, frame; or some of these columns."""
        filters = None if only is None else [("sample", "in", [int(one) for one in only])]
        return self._table("samples.parquet", filters, self.home, columns)

    def has_samples(self) -> bool:
        return (self.path / "samples.parquet").exists()

    def scores(self, filters: list | None = None, columns: list[str] | None = None) -> pd.DataFrame:
        """One row a training sample, one column a score of `scores.SCORES`; or some rows, by pyarrow's filters."""
        return self._table("scores.parquet", filters, columns=columns)

    def findings(self) -> pd.DataFrame:
        """One row a sample of a finding, columns `FINDINGS`; the members of a duplicate group share `group`."""
        return self._table("findings.parquet")

    def pairs(self, sample: int | None = None) -> pd.DataFrame:
        """Aligned and conflicting validation partners, columns `PAIRS`; of one training sample if given."""
        return self._table("pairs.parquet", filters=None if sample is None else [("sample", "==", int(sample))])

    def frames(self) -> pd.DataFrame | None:
        """What is known of every frame of a sequence, columns `FRAMES`; None where nothing was looked at over time."""
        return self._optional("frames.parquet")

    def spans(self) -> pd.DataFrame:
        """The findings of video sequences as stretches of frames, columns `SPANS`; a relabel has no middle."""
        if not (self.path / "spans.parquet").exists():
            return SPANS.empty_table().to_pandas()
        return self._table("spans.parquet").astype({"middle": "Int64"})

    def write_frames(self, frames: pd.DataFrame, spans: pd.DataFrame) -> None:
        for name, schema, frame in (("spans", SPANS, spans), ("frames", FRAMES, frames)):
            table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
            write_table(self.path / f"{name}.parquet", table)

    def unreadable(self) -> pd.DataFrame:
        """The images that could not be read: path, reason."""
        return self._table("unreadable.parquet")

    def _table(self, name: str, filters=None, folder: Path | None = None, columns=None) -> pd.DataFrame:
        path = (folder or self.path) / name
        needed(path)
        try:
            refuse_pipe(path)
            return checked.frame(pq.read_table(path, filters=filters, columns=columns, **SURE), name, columns)
        except checked.DAMAGED as error:
            raise LossprintError(f"expected a readable {name} in run {self.path}, found: {one_line(error)}") from None

    def _optional(self, name: str) -> pd.DataFrame | None:
        """A table that a whole run need not have."""
        return self._table(name) if (self.path / name).exists() else None

    def _stamp(self, name: str) -> int | None:
        file = self.path / name
        return file.stat().st_mtime_ns if file.exists() else None

    def comparison(self) -> pd.DataFrame | None:
        """What training on cleaned labels changed, see `loop`; None where that was not tried."""
        return self._optional("comparison.parquet")

    def comparison_stamp(self) -> int | None:
        """When the comparison was written, in nanoseconds; it changes while a comparison goes on."""
        return self._stamp("comparison.parquet")

    def write_comparison(self, frame: pd.DataFrame) -> None:
        write_frame(self.path / "comparison.parquet", frame)

    # Further trainings ------------------------------------------------------------------------------------------

    def member(self, name: str) -> "Run":
        """A further training of the same samples, such as seed=00001 or fold=0: its trajectories, nothing else."""
        return Run(self.path / "members" / name, {**self.manifest, "stages": []}, self.home or self.path)

    def members(self, kind: str) -> list["Run"]:
        """The further trainings of a kind, `seed` or `fold`, ascending."""
        return [self.member(name) for name in sorted(names(self.path / "members")) if name.startswith(f"{kind}=")]

    # Trajectories ---------------------------------------------------------------------------------------------

    def recorded(self, split: str = "train") -> list[int]:
        """The checkpoints that are recorded for a split, ascending."""
        return _numbered(self.path / "trajectories" / f"split={split}", "checkpoint=")

    def part(self, split: str, checkpoint: int, between: Between = None, columns: list[str] | None = None) -> pa.Table:
        """All ranks' rows of one checkpoint of one split, or some of the rows and columns."""
        folder = self._part_folder(split, checkpoint)
        files = self._part_files(split, checkpoint)
        try:
            tables = [read_part(file, within(between), columns) for file in files]
            return pa.concat_tables(tables, promote_options="default")
        except checked.DAMAGED as error:
            raise LossprintError(f"expected readable Parquet parts in {folder}, found: {one_line(error)}") from None

    def write_part(self, split: str, checkpoint: int, table: pa.Table | pd.DataFrame, rank: int = 0) -> None:
        """Write one rank's rows of one checkpoint. `table` has the columns of `PART`, and `el2n` or not."""
        if isinstance(table, pd.DataFrame):
            table = pa.Table.from_pandas(table, preserve_index=False)
        schema = PART.append(OPTIONAL) if OPTIONAL.name in table.column_names else PART
        folder = self._part_folder(split, checkpoint)
        write_sorted(folder / f"rank-{rank}.parquet", table.select(schema.names).cast(schema).sort_by("sample"))

    def _part_files(self, split: str, checkpoint: int) -> list[Path]:
        folder = self._part_folder(split, checkpoint)
        needed(folder)
        return sorted(folder.glob("rank-*.parquet"))

    def _part_folder(self, split: str, checkpoint: int) -> Path:
        return self.path / "trajectories" / f"split={split}" / f"checkpoint={checkpoint:05d}"

    def drop_parts_after(self, checkpoint: int) -> None:
        """Remove the trajectories recorded after a checkpoint, as a resumed run does before it goes on."""
        needed(self.path / "trajectories")
        for folder in self.path.glob("trajectories/split=*/checkpoint=*"):
            if int(folder.name.removeprefix("checkpoint=")) > checkpoint:
                _remove_parts(folder)

    def drop_unfinished(self) -> None:
        """Remove the parts of checkpoints that were cut off before all processes had written theirs."""
        for place in ("trajectories/split=*", "members/*/trajectories/split=*", "curvature"):
            needed(self.path / place.partition("/")[0])
            for folder in self.path.glob(f"{place}/checkpoint=*"):
                if not (folder / WHOLE).exists():
                    _remove_parts(folder)

    def make_room(self, split: str, checkpoint: int, processes: int = 1) -> None:
        """Remove parts that would stand beside what the processes are about to write; one file is replaced by one."""
        folder = self._part_folder(split, checkpoint)
        needed(folder)
        if processes > 1 or any(file.name != WHOLE for file in folder.glob("rank-*.parquet")):
            _remove_parts(folder)

    # Curvature ------------------------------------------------------------------------------------------------

    def curvature_recorded(self) -> list[int]:
        return _numbered(self.path / "curvature", "checkpoint=")

    def write_curvature(self, checkpoint: int, frame: pd.DataFrame, rank: int = 0) -> None:
        table = pa.Table.from_pandas(frame, schema=CURVATURE, preserve_index=False).sort_by("sample")
        write_sorted(self.path / "curvature" / f"checkpoint={checkpoint:05d}" / f"rank-{rank}.parquet", table)

    def curvature(self, between: Between = None) -> pd.DataFrame:
        """Curvature, trace and gradient norm, each the mean over the measured checkpoints, indexed by sample."""
        needed(self.path / "curvature")
        files = sorted((self.path / "curvature").glob("checkpoint=*/rank-*.parquet"))
        files = [file for file in files if (file.parent / WHOLE).exists()]
        try:
            filters = within(between) or None
            for file in files:
                refuse_pipe(file)
            tables = [pq.read_table(f, schema=CURVATURE, filters=filters, partitioning=None, **SURE) for f in files]
        except checked.DAMAGED as error:
            raise LossprintError(
                f"expected readable Parquet parts in {self.path / 'curvature'}, found: {one_line(error)}"
            ) from None
        table = pa.concat_tables(tables) if tables else CURVATURE.empty_table()
        return table.to_pandas().astype(dict.fromkeys(CURVATURE.names[1:], np.float64)).groupby("sample").mean()

    def write_duplicates(self, frame: pd.DataFrame) -> None:
        """Save duplicate pairs: sample < partner (int64), kind (exact / near), similarity in [0, 1]."""
        write_frame(self.path / "duplicates.parquet", frame)

    def has_duplicates(self) -> bool:
        return (self.path / "duplicates.parquet").exists()

    def duplicates(self) -> pd.DataFrame:
        """The duplicate pairs of all splits; empty in a run that has not looked for them."""
        if not self.has_duplicates():
            return pd.DataFrame({"sample": [], "partner": [], "kind": [], "similarity": []})
        return self._table("duplicates.parquet")

    # Writing the rest -----------------------------------------------------------------------------------------

    def write_samples(self, frame: pd.DataFrame, unreadable: pd.DataFrame) -> None:
        write_frame(self.path / "unreadable.parquet", unreadable)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        write_table(self.path / "samples.parquet", table, LOOKUP_ROWS)  # last: `has_samples` means that both are there

    def write_scores(self, frame: pd.DataFrame) -> None:
        write_frame(self.scores_path, frame)

    def write_findings(self, findings: list[Finding], samples: pd.DataFrame) -> None:
        write_frame(self.path / "findings.parquet", findings_table(findings, samples))

    def label_scores(self) -> pd.DataFrame | None:
        """Of a multi-label run one row a sample and label: sample, name, given, csl, cld, severity; else None."""
        return self._optional("label_scores.parquet")

    def write_label_scores(self, frame: pd.DataFrame) -> None:
        write_frame(self.path / "label_scores.parquet", frame)

    def write_pairs(self, frame: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(frame[list(PAIRS)], preserve_index=False)
        write_table(self.pairs_path, table, LOOKUP_ROWS)

    def finish(self, stage: str, **facts) -> "Run":
        """Say that a stage is done, with facts worth keeping (seconds, counts); run.json is written last."""
        stages = [name for name in STAGES if name in {*self.stages, stage}]
        checksums.list_stage(self.path, stage)
        return self._rewrite(stages, {**self.manifest.get("facts", {}), stage: facts})

    def reopen(self, stage: str) -> "Run":
        """Take back that a stage and those after it are done, before they are run again."""
        stages = [name for name in STAGES[: STAGES.index(stage)] if name in self.stages]
        checksums.unlist(self.path, stages)
        return self._rewrite(stages)

    def _rewrite(self, stages: list[str], facts: dict | None = None) -> "Run":
        manifest = {
            **self.manifest,
            "stages": stages,
            "facts": self.manifest.get("facts", {}) if facts is None else facts,
        }
        written = manifest | {"dataset": _within(manifest["dataset"], self.path)}
        write_text(self.path / "run.json", json.dumps(written, indent=1, ensure_ascii=False) + "\n")
        return Run(self.path, manifest)

    @property
    def reviews_url(self) -> str:
        """Where decisions are kept: a database URL, by default SQLite in the run folder."""
        return os.environ.get("LOSSPRINT_DATABASE_URL") or f"sqlite:///{self.path.absolute() / 'reviews.db'}"

    @property
    def exports(self) -> Path:
        return self.path / "exports"


def create_run(path: str | Path, asked: dict, dataset: dict, seed: int, recording: str = "eval") -> Run:
    """Make a run folder in which no stage is done.

    `asked` is what the user asked for (it must match on resume), `dataset` has source, kind, fingerprint, classes and
    counts. `recording` says which losses the run holds: `eval` (after each epoch, eval mode, no augmentation),
    `by-product` (of the training batches themselves) or `imported`; they are different quantities and never mixed.
    """
    path = Path(path)
    if (path / "run.json").exists():
        raise LossprintError(
            f"expected a new folder for the run, found a run at {path}: add --resume to "
            f"continue it, or choose another --out"
        )
    refuse_others(path, dataset.get("root"))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LossprintError(f"expected a place for a new run folder, found at {path}: {one_line(error)}") from None
    manifest = {
        "format": FORMAT,
        "lossprint": version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "asked": asked,
        "seed": seed,
        "recording": recording,
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("numpy", "pandas", "pillow", "torch", "torchvision")},
        "dataset": dataset,
        "stages": [],
        "facts": {},
    }
    return Run(path, manifest)._rewrite([])


def refuse_others(path: Path, root: str | Path | None = None) -> None:
    """Raise LossprintError where a new run's folder holds anything but its own dataset: frames decoded from videos."""
    sweep(path)
    own = None if root is None else Path(root).absolute()
    if path.exists() and (not path.is_dir() or any(file.absolute() != own for file in path.iterdir())):
        raise LossprintError(f"expected a new or empty folder for the run, found other files at {path}")


def open_run(path: str | Path, need: str | None = "find") -> Run:
    """Open a run folder, or the one at a URL. `need` is the stage that must be done; None opens a half-written one too.

    Raises LossprintError, in one line, where there is no run, it is damaged, newer than this program, or half written.
    """
    path = place_of(path)
    if not path.exists():
        raise LossprintError(f"expected a run folder, found nothing at {path}")
    file = path / "run.json"
    if not file.is_file():
        raise LossprintError(f"expected a run folder (one with a run.json), found none in {path}")
    try:
        manifest = checked.read_manifest(file.read_bytes())
        number = manifest["format"]
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise LossprintError(f"expected a readable run.json, found in {file}: {one_line(error)}") from None
    if number > FORMAT:
        raise LossprintError(
            f"expected a run of format {FORMAT} or older, found format {number} (written by lossprint "
            f"{manifest.get('lossprint', '?')}; this is {version()}) at {path}: upgrade lossprint to open it"
        )
    try:
        checked.check_manifest(manifest)
    except ValueError as error:
        raise LossprintError(f"expected a run.json as lossprint writes it, found {error} in {file}") from None
    for name in PLACES:
        if str(manifest["dataset"].get(name)).partition("/")[0] == VIDEO_FRAMES:
            manifest["dataset"][name] = str(path.absolute() / manifest["dataset"][name])
    run = Run(path, manifest)
    if need is not None and need not in run.stages:
        raise LossprintError(f"expected a whole run, found one half written at {path}: {how_far(run)}")
    return run


def _within(dataset: dict, path: Path) -> dict:
    """The dataset of run.json: its places are relative to the run folder where it was decoded into that."""
    here, places = path.absolute(), {name: Path(dataset[name]) for name in PLACES if dataset.get(name)}
    own = {name: place for name, place in places.items() if place.is_relative_to(here / VIDEO_FRAMES)}
    return dataset | {name: place.relative_to(here).as_posix() for name, place in own.items()}


def how_far(run: Run) -> str:
    """In words: how far a half-written run got and how to go on."""
    asked = run.manifest["asked"]
    if "record" in run.stages and not unmeasured(run):
        return f"recorded, not scored; finish it with: lossprint score {run.path}"
    if run.manifest.get("recording") == "imported":
        return f"the import was cut off; delete {run.path} and import again"
    done = len(set(run.recorded("train")) & set(run.recorded("val")))
    if "checkpoints" in asked:
        from lossprint.audit.training.checkpoints import record_command

        command = record_command(asked, run.path, resume=True)
        return f"{done} of {len(asked.get('files') or ())} checkpoints recorded; continue it with: {command}"
    if "epochs" not in asked:
        return f"{done} checkpoints recorded; continue it in your own loop with Recorder(..., resume=True)"
    source = shlex.quote(str(asked.get("dataset", "DATASET")))  # a shell would take a pattern of shards apart
    command = f"lossprint audit {source} --out {run.path} --resume"
    return f"{done} of {asked.get('epochs')} checkpoints recorded; continue it with: {command}"


def unmeasured(run: Run) -> bool:
    """Whether an audit's (or a record's) curvature or duplicates are still to come: scoring alone cannot end it."""
    return not {"epochs", "checkpoints"}.isdisjoint(run.manifest["asked"]) and "embed" not in run.stages


def list_runs(path: str | Path) -> list[Path]:
    """The run folders at `path`: itself, or those directly in it, newest first."""
    path = Path(path)
    if (path / "run.json").is_file():
        return [path]
    if not path.is_dir():
        raise LossprintError(f"expected a run folder or a folder of runs, found nothing at {path}")
    files = [file for file in path.glob("*/run.json") if file.is_file()]
    return [file.parent for file in sorted(files, key=lambda file: (-file.stat().st_mtime, file))]


def _numbered(folder: Path, prefix: str) -> list[int]:
    """The numbers of the folders `prefix00003` that are whole."""
    needed(folder)
    found = []
    for child in folder.glob(f"{prefix}[0-9]*"):
        number = child.name.removeprefix(prefix)
        if number.isdecimal() and (child / WHOLE).exists():
            found.append(int(number))
    return sorted(found)


def _remove_parts(folder: Path) -> None:
    """What makes the folder look whole goes first."""
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir(), key=lambda file: file.name != WHOLE):
        remove(file)
    folder.rmdir()
