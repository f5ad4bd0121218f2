"""An opened run folder: all that is read from one and written to one, and the only class that knows its file names.

Every file is written beside its name and renamed when whole, and run.json is rewritten last at the end of each stage:
a stage named in it is complete. Nothing is pickled. Longer than other files, as a run is one noun: whoever looks for a
table, a part, a tensor or a coreset of a run finds it here; `open` makes and opens runs.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.runs import checked, checksums, keys, tensors, trajectories
from lossprint.audit.runs.keys import PLACES
from lossprint.audit.runs.tables import (
    CURVATURE,
    FRAMES,
    HEAD,
    LOOKUP_ROWS,
    OPTIONAL,
    PAIRS,
    PART,
    QUALITY,
    SPANS,
    SURE,
    Between,
    findings_table,
    read_part,
    within,
    write_sorted,
)
from lossprint.audit.system.atomic import refuse_pipe, remove, write_frame, write_table, write_text
from lossprint.audit.system.locks import alone
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import Finding, LossprintError, Trajectory, one_line

WHOLE = "rank-0.parquet"  # of a checkpoint's parts, one a process, the one that is written when all others are there
VIDEO_FRAMES = "frames"  # the folder of a dataset that was decoded into the run folder, and moves with it
STAGES = tuple(checksums.STAGES)
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+-]{0,62}[A-Za-z0-9_+-])?")  # of a coreset
DOUBTED = b"lossprint.doubted"  # in the metadata of duplicates.parquet
Merge = Callable[[pd.DataFrame | None], pd.DataFrame]  # what is there, None for nothing -> what is to be there
FINISHED: list[Callable[["Run"], None]] = []  # told of each stage that is finished, see `sync.syncing`


@dataclass(frozen=True)
class Run:
    """An opened run folder. `manifest` is run.json as it was when the run was opened or last written."""

    path: Path
    manifest: dict
    home: Path | None = None  # of a member: the folder that holds samples.parquet
    believed: bool = True  # whether what it says of its dataset's place is; see `places` for one that was opened

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
        return self.table("samples.parquet", filters, self.home, columns)

    def has_samples(self) -> bool:
        return (self.path / "samples.parquet").exists()

    def sample_ids(self, split: str) -> np.ndarray:
        """The ids of a split's samples (N,) int64, ascending."""
        table = self.table("samples.parquet", [("split", "==", split)], self.home, ["sample"])
        return np.sort(table["sample"].to_numpy(np.int64))

    def texts(self, split: str, between: Between = None) -> pa.Table:
        """The samples of a split, or of a range of it, in the order of their ids: sample, path, label."""
        path = (self.home or self.path) / "samples.parquet"
        filters = [("split", "==", split), *within(between)]
        columns = ["sample", "path", "label"]
        try:
            table = read_table(path, columns, filters=filters, **SURE)
            checked.check_table(table, "samples.parquet", columns)
        except checked.DAMAGED as error:
            raise LossprintError(f"expected readable samples in run {self.path}, found: {error}") from None
        ids = table["sample"].to_numpy()
        return table if (ids[1:] > ids[:-1]).all() else table.sort_by("sample")

    def scores(self, filters: list | None = None, columns: list[str] | None = None) -> pd.DataFrame:
        """One row a training sample, one column a score of `scores.SCORES`; or some rows, by pyarrow's filters."""
        return self.table("scores.parquet", filters, columns=columns)

    def findings(self) -> pd.DataFrame:
        """One row a sample of a finding, columns `FINDINGS`; the members of a duplicate group share `group`."""
        return self.table("findings.parquet")

    def pairs(self, sample: int | None = None) -> pd.DataFrame:
        """Aligned and conflicting validation partners, columns `PAIRS`; of one training sample if given."""
        return self.table("pairs.parquet", filters=None if sample is None else [("sample", "==", int(sample))])

    def further(self) -> pd.DataFrame | None:
        """Further columns of the manifest by sample, as `datasets.further` keeps them; None where it has none."""
        return self._optional("further.parquet")

    def frames(self) -> pd.DataFrame | None:
        """What is known of every frame of a sequence, columns `FRAMES`; None where nothing was looked at over time."""
        return self._optional("frames.parquet")

    def spans(self) -> pd.DataFrame:
        """The findings of video sequences as stretches of frames, columns `SPANS`; a relabel has no middle."""
        if not (self.path / "spans.parquet").exists():
            return SPANS.empty_table().to_pandas()
        return self.table("spans.parquet").astype({"middle": "Int64"})

    def write_frames(self, frames: pd.DataFrame, spans: pd.DataFrame) -> None:
        for name, schema, frame in (("spans", SPANS, spans), ("frames", FRAMES, frames)):
            table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
            write_table(self.path / f"{name}.parquet", table)

    def unreadable(self) -> pd.DataFrame:
        """The images that could not be read: path, reason."""
        return self.table("unreadable.parquet")

    def table(self, name: str, filters=None, folder: Path | None = None, columns=None) -> pd.DataFrame:
        """A table by its file name, checked; or some rows, by pyarrow's filters, and columns of it."""
        path = (folder or self.path) / name
        try:
            refuse_pipe(path)
            return checked.frame(read_table(path, columns, filters=filters, **SURE), name, columns)
        except checked.DAMAGED as error:
            raise LossprintError(f"expected a readable {name} in run {self.path}, found: {one_line(error)}") from None

    def _optional(self, name: str) -> pd.DataFrame | None:
        """A table that a whole run need not have."""
        return self.table(name) if (self.path / name).exists() else None

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
        manifest = {**self.manifest, "stages": []}
        return Run(self.path / "members" / name, manifest, self.home or self.path, self.believed)

    def members(self, kind: str) -> list["Run"]:
        """The further trainings of a kind, `seed` or `fold`, ascending."""
        return [self.member(folder.name) for folder in sorted((self.path / "members").glob(f"{kind}=*"))]

    # Trajectories ---------------------------------------------------------------------------------------------

    def recorded(self, split: str = "train") -> list[int]:
        """The checkpoints that are recorded for a split, ascending."""
        return _numbered(self.path / "trajectories" / f"split={split}", "checkpoint=")

    def trajectory(
        self, split: str = "train", losses_only: bool = False, between: Between = None, predicted: bool = True
    ) -> Trajectory:
        """The loss trajectories of a split, or of a range of its samples, in memory: O(E N).

        A third of it with the losses only; `predicted=False` leaves out predictions and norms.
        """
        return trajectories.read(self, split, losses_only, between, predicted)

    def known(self, split: str = "train") -> frozenset[str]:
        """Which of the columns margin, predicted and el2n hold a value at any checkpoint, of any sample of a split."""
        return trajectories.known(self, split)

    def part(self, split: str, checkpoint: int, between: Between = None, columns: list[str] | None = None) -> pa.Table:
        """All ranks' rows of one checkpoint of one split, or some of the rows and columns."""
        folder = self.part_folder(split, checkpoint)
        files = self.part_files(split, checkpoint)
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
        folder = self.part_folder(split, checkpoint)
        write_sorted(folder / f"rank-{rank}.parquet", table.select(schema.names).cast(schema).sort_by("sample"))

    def part_files(self, split: str, checkpoint: int) -> list[Path]:
        """The files of one checkpoint of one split, one a process that recorded it."""
        folder = self.part_folder(split, checkpoint)
        return sorted(folder.glob("rank-*.parquet"))

    def part_folder(self, split: str, checkpoint: int) -> Path:
        """Where the files of one checkpoint of one split are."""
        return self.path / "trajectories" / f"split={split}" / f"checkpoint={checkpoint:05d}"

    def drop_parts_after(self, checkpoint: int) -> None:
        """Remove the trajectories recorded after a checkpoint, as a resumed run does before it goes on."""
        for folder in self.path.glob("trajectories/split=*/checkpoint=*"):
            if int(folder.name.removeprefix("checkpoint=")) > checkpoint:
                _remove_parts(folder)

    def drop_view(self) -> None:
        """Remove what heads on a backbone's features left, where they are left out: their training and ranking."""
        for folder in (self.path / "members").glob("view=*"):
            shutil.rmtree(folder)
        remove(self.path / "head.parquet")
        remove(self.path / "embeddings.safetensors")

    def drop_unfinished(self) -> None:
        """Remove the parts of checkpoints that were cut off before all processes had written theirs."""
        for place in ("trajectories/split=*", "members/*/trajectories/split=*", "curvature"):
            for folder in self.path.glob(f"{place}/checkpoint=*"):
                if not (folder / WHOLE).exists():
                    _remove_parts(folder)

    def make_room(self, split: str, checkpoint: int, processes: int = 1) -> None:
        """Remove parts that would stand beside what the processes are about to write; one file is replaced by one."""
        folder = self.part_folder(split, checkpoint)
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
        files = sorted((self.path / "curvature").glob("checkpoint=*/rank-*.parquet"))
        files = [file for file in files if (file.parent / WHOLE).exists()]
        try:
            filters = within(between) or None
            for file in files:
                refuse_pipe(file)
            tables = [read_table(file, CURVATURE.names, schema=CURVATURE, filters=filters, **SURE) for file in files]
        except checked.DAMAGED as error:
            raise LossprintError(
                f"expected readable Parquet parts in {self.path / 'curvature'}, found: {one_line(error)}"
            ) from None
        table = pa.concat_tables(tables) if tables else CURVATURE.empty_table()
        return table.to_pandas().astype(dict.fromkeys(CURVATURE.names[1:], np.float64)).groupby("sample").mean()

    # Weights and embeddings -------------------------------------------------------------------------------------------

    def saved_checkpoints(self) -> list[int]:
        files = (self.path / "checkpoints").glob("*.safetensors")
        return sorted(int(file.stem) for file in files if file.stem.isdecimal())

    def write_checkpoint(self, checkpoint: int, weights: dict) -> None:
        tensors.write(self.path / "checkpoints" / f"{checkpoint:05d}.safetensors", weights)

    def read_checkpoint(self, checkpoint: int) -> dict:
        return tensors.read(self.path / "checkpoints" / f"{checkpoint:05d}.safetensors")

    def write_state(self, checkpoint: int, state: dict) -> None:
        """What training needs to go on after `checkpoint` (weights, statistics, momentum); replaces the last one."""
        tensors.write(self.path / "resume.safetensors", state, {"checkpoint": str(checkpoint)})

    def read_state(self) -> tuple[int, dict] | None:
        """The checkpoint after which training goes on and its tensors, or None where nothing was saved."""
        path = self.path / "resume.safetensors"
        if not path.exists():
            return None
        state = tensors.read(path)
        return int(tensors.metadata(path)["checkpoint"]), state

    def drop_state(self) -> None:
        remove(self.path / "resume.safetensors")

    def write_temporal(self, fold: int, weights: dict) -> None:
        """Save the weights of the model over time of a fold, stacked over epochs."""
        tensors.write(self.path / "temporal" / f"fold={fold:03d}.safetensors", weights)

    def read_temporal(self) -> list[dict]:
        """The weights of the models over time, one a fold."""
        return [tensors.read(path) for path in sorted((self.path / "temporal").glob("fold=*.safetensors"))]

    def write_timeline(self, **arrays: np.ndarray) -> None:
        """Save what was seen over time, see `frames.Timeline`."""
        tensors.write_arrays(self.path / "timeline.safetensors", arrays)

    def timeline(self) -> dict[str, np.ndarray] | None:
        """The arrays of `write_timeline`, None where nothing was looked at over time."""
        return tensors.read_arrays(self.path / "timeline.safetensors", "what was seen over time")

    def write_embeddings(self, samples: np.ndarray, vectors: np.ndarray) -> None:
        """Save samples (N,) int64 and their embedding (N, D) of floats, as float16 where that says the same."""
        if vectors.dtype != np.float16:
            vectors = vectors.astype(np.float32, copy=False)
            with np.errstate(over="ignore"):
                half = vectors.astype(np.float16)
            vectors = half if np.array_equal(half, vectors, equal_nan=True) else vectors
        arrays = {"samples": samples.astype(np.int64), "vectors": vectors}
        tensors.write_arrays(self.path / "embeddings.safetensors", arrays)

    def embeddings(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Samples (N,) and vectors (N, D), or None in a run without a model, such as one of imported losses."""
        arrays = tensors.read_arrays(self.path / "embeddings.safetensors", "embeddings")
        if arrays is None:
            return None
        samples, vectors = arrays["samples"], arrays.get("vectors", np.empty(0))
        whole = samples.ndim == 1 and samples.dtype.kind in "iu" and vectors.dtype.kind == "f"
        if not whole or vectors.ndim != 2 or len(samples) != len(vectors):
            raise LossprintError(f"expected samples (N,) and vectors (N, D) as embeddings of {self.path}, found others")
        if not (samples[1:] > samples[:-1]).all() and len(np.unique(samples)) < len(samples):
            raise LossprintError(f"expected one embedding a sample in {self.path}, found several of one")
        return samples, vectors.astype(np.float32) if vectors.dtype == np.float16 else vectors

    def embedding_bytes(self) -> int:
        """How large the file of embeddings is, 0 without one."""
        file = self.path / "embeddings.safetensors"
        return 2 * file.stat().st_size if file.exists() else 0  # it may be of float16

    def write_head(self, frame: pd.DataFrame) -> None:
        """Save the ranking of heads on frozen features, columns `HEAD`."""
        table = pa.Table.from_pandas(frame[HEAD.names], schema=HEAD, preserve_index=False)
        write_table(self.path / "head.parquet", table)

    def head(self) -> pd.DataFrame | None:
        """The ranking of heads on frozen features, columns `HEAD`, by sample; None in a run that was trained."""
        table = self._optional("head.parquet")
        if table is None:
            return None
        known = table["suggested"].between(-1, len(self.classes) - 1)
        if not known.all():
            first = table["suggested"][~known].iloc[0]
            raise LossprintError(
                f"expected class indices below {len(self.classes)} in head.parquet of {self.path}, found {first}"
            )
        return table.sort_values("sample", ignore_index=True)

    # Duplicates -------------------------------------------------------------------------------------------------------

    def write_duplicates(self, frame: pd.DataFrame, doubted: int = 0) -> None:
        """Save duplicate pairs: sample < partner (int64), kind (exact / near), similarity in [0, 1].

        doubted: how many samples resemble so many others that no pair of them was taken for copies.
        """
        table = pa.Table.from_pandas(frame, preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), DOUBTED: str(doubted).encode()})
        write_table(self.path / "duplicates.parquet", table)

    def doubted(self) -> int:
        """How many samples resemble too many others to be taken for copies; 0 where nobody looked."""
        if not self.has_duplicates():
            return 0
        try:
            said = (pq.read_schema(self.path / "duplicates.parquet").metadata or {}).get(DOUBTED, b"0")
        except checked.DAMAGED as error:
            raise LossprintError(f"expected readable duplicates in run {self.path}, found: {error}") from None
        return int(said) if said.isdigit() and len(said) < 18 else 0

    def write_quality(self, frame: pd.DataFrame) -> None:
        """Save what images look like, a row a sample: `tables.QUALITY`."""
        write_table(self.path / "quality.parquet", pa.Table.from_pandas(frame, QUALITY, preserve_index=False))

    def quality(self) -> pd.DataFrame | None:
        """What `write_quality` saved; None where the images were not looked at."""
        return self._optional("quality.parquet")

    def write_aside(self, frame: pd.DataFrame) -> None:
        """Save which samples images without a label are copies of: path, split, sample, kind, similarity."""
        write_frame(self.path / "aside.parquet", frame)

    def aside(self) -> pd.DataFrame | None:
        """What `write_aside` saved; None where no image was left out, or nobody looked."""
        return self._optional("aside.parquet")

    def has_duplicates(self) -> bool:
        return (self.path / "duplicates.parquet").exists()

    def duplicates(self) -> pd.DataFrame:
        """The duplicate pairs of all splits; empty in a run that has not looked for them."""
        if not self.has_duplicates():
            return pd.DataFrame({"sample": [], "partner": [], "kind": [], "similarity": []})
        return self.table("duplicates.parquet")

    # Coresets ---------------------------------------------------------------------------------------------------------

    def evaluation(self) -> pd.DataFrame | None:
        """What training on coresets came to, see `evaluate`; None where that was not tried."""
        return self._optional("evaluation.parquet")

    def evaluation_stamp(self) -> int | None:
        """When the evaluation was written, in nanoseconds; it changes while one goes on."""
        return self._stamp("evaluation.parquet")

    def update_evaluation(self, merge: Merge) -> pd.DataFrame:
        """Replace the evaluation by what `merge` makes of it; another process cannot write in between."""
        return self._update("evaluation.parquet", merge)

    def overlap(self) -> pd.DataFrame | None:
        """What the evaluated coresets share, see `evaluate`; None where none were."""
        return self._optional("overlap.parquet")

    def update_overlap(self, merge: Merge) -> pd.DataFrame:
        return self._update("overlap.parquet", merge)

    def _update(self, name: str, merge: Merge) -> pd.DataFrame:
        folder = self.path / "selections"
        folder.mkdir(exist_ok=True)
        with alone(folder):
            for part in self.path.glob(f".{name}.*.part"):  # of a process that was killed
                part.unlink(missing_ok=True)
            table = merge(self._optional(name))
            write_frame(self.path / name, table)
        return table

    def selections(self) -> list[str]:
        """The names of the subsets that were kept."""
        names = (path.stem for path in (self.path / "selections").glob("*.csv"))
        return sorted(name for name in names if NAME.fullmatch(name))

    def selection_path(self, name: str) -> Path:
        """The file of a subset that is or could be kept under a name. Raises LossprintError for one that cannot be."""
        if not NAME.fullmatch(name):
            raise LossprintError(
                "expected a name of up to 64 letters (A to Z), digits, blanks and . _ + -, a letter or digit first and "
                f"no blank or dot last, found {name[:80]!r}"
            )
        return self.path / "selections" / f"{name}.csv"

    def write_selection(self, name: str, csv: str, record: str) -> None:
        """Keep a subset under a name; its record is beside it, written first."""
        path = self.selection_path(name)
        write_text(path.with_name(f"{path.name}.json"), record)
        write_text(path, csv)

    def drop_selection(self, name: str) -> None:
        """Remove a kept subset; nothing happens where there is none of that name."""
        path = self.selection_path(name)
        remove(path)
        remove(path.with_name(f"{path.name}.json"))

    # Writing the rest -----------------------------------------------------------------------------------------

    def layout(self) -> pd.DataFrame | None:
        """Where each sample lies on the map of what is alike: sample, x, y; None where none was made."""
        return self._optional("layout.parquet")

    def write_layout(self, frame: pd.DataFrame | None) -> None:
        """In place of the one before; None: there is none."""
        if frame is None:
            remove(self.path / "layout.parquet")
        else:
            write_frame(self.path / "layout.parquet", frame)

    def write_further(self, frame: pd.DataFrame | None) -> None:
        if frame is not None:
            write_frame(self.path / "further.parquet", frame)

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
        run = self.rewrite(stages, {**self.manifest.get("facts", {}), stage: facts})
        for tell in FINISHED:
            tell(run)
        return run

    def reopen(self, stage: str) -> "Run":
        """Take back that a stage and those after it are done, before they are run again."""
        stages = [name for name in STAGES[: STAGES.index(stage)] if name in self.stages]
        checksums.unlist(self.path, stages)
        return self.rewrite(stages)

    def rewrite(self, stages: list[str], facts: dict | None = None) -> "Run":
        """Write run.json anew, with these stages done, and return the run as it is then."""
        manifest = {
            **self.manifest,
            "stages": stages,
            "facts": self.manifest.get("facts", {}) if facts is None else facts,
        }
        written = manifest | {"dataset": _within(manifest["dataset"], self.path)}
        if self.believed and written["dataset"] == manifest["dataset"]:  # its own frames need no signature
            manifest["place"] = written["place"] = keys.signature(manifest)
        write_text(self.path / "run.json", json.dumps(written, indent=1, ensure_ascii=False) + "\n")
        return Run(self.path, manifest, believed=self.believed)

    @property
    def reviews_url(self) -> str:
        """Where decisions are kept: a database URL, by default SQLite in the run folder."""
        return os.environ.get("LOSSPRINT_DATABASE_URL") or f"sqlite:///{self.path.absolute() / 'reviews.db'}"

    @property
    def exports(self) -> Path:
        return self.path / "exports"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder in the run folder for what shards hand over; removed in the end, and before, if one was left."""
        folder = self.path / ".scoring"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def scores_path(self) -> Path:
        return self.path / "scores.parquet"

    @property
    def pairs_path(self) -> Path:
        """The file of `pairs`, sorted by sample, for reading it piece by piece."""
        return self.path / "pairs.parquet"


def _within(dataset: dict, path: Path) -> dict:
    """The dataset of run.json: its places are relative to the run folder where it was decoded into that."""
    here, places = path.absolute(), {name: Path(dataset[name]) for name in PLACES if dataset.get(name)}
    own = {name: place for name, place in places.items() if place.is_relative_to(here / VIDEO_FRAMES)}
    return dataset | {name: place.relative_to(here).as_posix() for name, place in own.items()}


def _numbered(folder: Path, prefix: str) -> list[int]:
    """The numbers of the folders `prefix00003` that are whole."""
    numbers = []
    for child in folder.glob(f"{prefix}[0-9]*"):
        number = child.name.removeprefix(prefix)
        if number.isdecimal() and (child / WHOLE).exists():
            numbers.append(int(number))
    return sorted(numbers)


def _remove_parts(folder: Path) -> None:
    """What makes the folder look whole goes first."""
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir(), key=lambda file: file.name != WHOLE):
        remove(file)
    folder.rmdir()
