"""The run folder: the only module that knows its file names.

Every file is written beside its name and renamed when whole, and run.json is rewritten last at the end of each stage:
a stage named in it is complete. Nothing is pickled.
"""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.atomic import sweep, write_frame, write_table, write_text
from lossprint.audit.selections import SelectionFiles
from lossprint.audit.tables import CURVATURE, FRAMES, OPTIONAL, PAIRS, PART, SPANS, findings_table, read_part
from lossprint.audit.tensors import TensorFiles, one_line
from lossprint.audit.types import Finding, LossprintError, Trajectory

FORMAT = 1
LOOKUP_ROWS = 1 << 17  # of a row group: one sample's partners are found in about 15 ms among 40 million rows
VIDEO_FRAMES = "frames"  # the folder of a dataset that was decoded into the run folder, and moves with it
PLACES = ("source", "root")  # of a dataset, in run.json
STAGES = ("record", "curvature", "embed", "score", "find")


def version() -> str:
    """The installed version of lossprint."""
    return metadata.version("lossprint")


@dataclass(frozen=True)
class Run(TensorFiles, SelectionFiles):
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
    def stages(self) -> list[str]:
        return self.manifest["stages"]

    # Tables ---------------------------------------------------------------------------------------------------

    def samples(self, only: list[int] | None = None) -> pd.DataFrame:
        """All samples of all splits, or some: sample, path, label, split, sequence, frame."""
        filters = None if only is None else [("sample", "in", [int(one) for one in only])]
        return self._table("samples.parquet", filters, self.home)

    def has_samples(self) -> bool:
        return (self.path / "samples.parquet").exists()

    def scores(self) -> pd.DataFrame:
        """One row a training sample, one column a score of `types.SCORES`."""
        return self._table("scores.parquet")

    def findings(self) -> pd.DataFrame:
        """One row a sample of a finding, columns `FINDINGS`; the members of a duplicate group share `group`."""
        return self._table("findings.parquet")

    def pairs(self, sample: int | None = None) -> pd.DataFrame:
        """Aligned and conflicting validation partners, columns `PAIRS`; of one training sample if given."""
        return self._table("pairs.parquet", filters=None if sample is None else [("sample", "==", int(sample))])

    @property
    def pairs_path(self) -> Path:
        """The file of `pairs`, sorted by sample, for reading it piece by piece."""
        return self.path / "pairs.parquet"

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
        try:
            return pq.read_table(path, filters=filters, columns=columns).to_pandas()
        except (FileNotFoundError, pa.ArrowInvalid, OSError) as error:
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
        return [self.member(path.name) for path in sorted((self.path / "members").glob(f"{kind}=*"))]

    # Trajectories ---------------------------------------------------------------------------------------------

    def recorded(self, split: str = "train") -> list[int]:
        """The checkpoints that are recorded for a split, ascending."""
        return _numbered(self.path / "trajectories" / f"split={split}", "checkpoint=")

    def checkpoints(self) -> Iterator[tuple[int, pd.DataFrame]]:
        """Stream the training split one checkpoint at a time: (checkpoint, table of `PART`), O(N) memory."""
        for checkpoint in self.recorded():
            yield checkpoint, self.part("train", checkpoint).to_pandas()

    def part(self, split: str, checkpoint: int) -> pa.Table:
        """All ranks' rows of one checkpoint of one split."""
        folder = self._part_folder(split, checkpoint)
        files = sorted(folder.glob("rank-*.parquet"))
        try:
            tables = [read_part(file) for file in files]
            return pa.concat_tables(tables, promote_options="default")
        except (pa.ArrowInvalid, OSError) as error:
            raise LossprintError(f"expected readable Parquet parts in {folder}, found: {one_line(error)}") from None

    def trajectory(self, split: str = "train", losses_only: bool = False) -> Trajectory:
        """The whole loss trajectories of a split, in memory: O(E N); a quarter of it with the losses only."""
        table = self._table("samples.parquet", folder=self.home, columns=["sample", "label", "split"])
        table = table[table["split"] == split].sort_values("sample")
        ids = table["sample"].to_numpy(np.int64)
        index = {label: i for i, label in enumerate(self.classes)}
        labels = table["label"].map(index).to_numpy(np.int32)
        checkpoints = self.recorded(split)
        shape = (len(checkpoints), len(ids))
        losses = np.full(shape, np.nan, np.float32)
        if not losses_only:
            margins = np.full(shape, np.nan, np.float32)
            predicted = np.full(shape, -1, np.int32)
            norms = np.full(shape, np.nan, np.float32)
        for row, checkpoint in enumerate(checkpoints):
            part = self.part(split, checkpoint)
            samples = part["sample"].to_numpy()
            at = np.searchsorted(ids, samples)
            if len(samples) and (at.max(initial=0) >= len(ids) or not np.array_equal(ids[at], samples)):
                raise LossprintError(
                    f"expected sample ids of split {split} in {self._part_folder(split, checkpoint)}, "
                    f"found ids that samples.parquet does not have"
                )
            losses[row, at] = part["loss"].to_numpy()
            if losses_only:
                continue
            margins[row, at] = part["margin"].to_numpy()
            predicted[row, at] = part["predicted"].to_numpy()
            if OPTIONAL.name in part.column_names:
                norms[row, at] = part[OPTIONAL.name].to_numpy()
        if losses_only:
            return Trajectory(ids, labels, np.array(checkpoints, np.int64), losses)
        return Trajectory(
            ids,
            labels,
            np.array(checkpoints, np.int64),
            losses,
            None if np.isnan(margins).all() else margins,
            None if (predicted < 0).all() else predicted,
            None if np.isnan(norms).all() else norms,
        )

    def write_part(self, split: str, checkpoint: int, table: pa.Table | pd.DataFrame, rank: int = 0) -> None:
        """Write one rank's rows of one checkpoint. `table` has the columns of `PART`, and `el2n` or not."""
        if isinstance(table, pd.DataFrame):
            table = pa.Table.from_pandas(table, preserve_index=False)
        schema = PART.append(OPTIONAL) if OPTIONAL.name in table.column_names else PART
        folder = self._part_folder(split, checkpoint)
        write_table(folder / f"rank-{rank}.parquet", table.select(schema.names).cast(schema).sort_by("sample"))

    def _part_folder(self, split: str, checkpoint: int) -> Path:
        return self.path / "trajectories" / f"split={split}" / f"checkpoint={checkpoint:05d}"

    def drop_parts_after(self, checkpoint: int) -> None:
        """Remove the trajectories recorded after a checkpoint, as a resumed run does before it goes on."""
        for split in ("train", "val", "test"):
            for later in self.recorded(split):
                if later > checkpoint:
                    folder = self._part_folder(split, later)
                    for file in folder.iterdir():
                        file.unlink()
                    folder.rmdir()

    # Curvature ------------------------------------------------------------------------------------------------

    def curvature_recorded(self) -> list[int]:
        return _numbered(self.path / "curvature", "checkpoint=")

    def write_curvature(self, checkpoint: int, frame: pd.DataFrame, rank: int = 0) -> None:
        table = pa.Table.from_pandas(frame, schema=CURVATURE, preserve_index=False).sort_by("sample")
        write_table(self.path / "curvature" / f"checkpoint={checkpoint:05d}" / f"rank-{rank}.parquet", table)

    def curvature(self) -> pd.DataFrame:
        """Curvature, trace and gradient norm, each the mean over the measured checkpoints, indexed by sample."""
        files = sorted((self.path / "curvature").glob("checkpoint=*/rank-*.parquet"))
        try:
            tables = [pq.read_table(file, schema=CURVATURE, partitioning=None) for file in files]
        except (pa.ArrowInvalid, OSError) as error:
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
        write_frame(self.path / "samples.parquet", frame)  # last: `has_samples` means that both are there

    def write_scores(self, frame: pd.DataFrame) -> None:
        write_frame(self.path / "scores.parquet", frame)

    def write_findings(self, findings: list[Finding], samples: pd.DataFrame) -> None:
        write_frame(self.path / "findings.parquet", findings_table(findings, samples))

    def write_pairs(self, frame: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(frame[list(PAIRS)], preserve_index=False)
        write_table(self.pairs_path, table, LOOKUP_ROWS)

    def finish(self, stage: str, **facts) -> "Run":
        """Say that a stage is done, with facts worth keeping (seconds, counts); run.json is written last."""
        stages = [name for name in STAGES if name in {*self.stages, stage}]
        return self._rewrite(stages, {**self.manifest.get("facts", {}), stage: facts})

    def reopen(self, stage: str) -> "Run":
        """Take back that a stage and those after it are done, before they are run again."""
        return self._rewrite([name for name in self.stages if STAGES.index(name) < STAGES.index(stage)])

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
    """Open a run folder. `need` is the stage that must be done; None opens one that is half written as well.

    Raises LossprintError, in one line, where there is no run, it is damaged, newer than this program, or half written.
    """
    path = Path(path)
    if not path.exists():
        raise LossprintError(f"expected a run folder, found nothing at {path}")
    file = path / "run.json"
    if not file.is_file():
        raise LossprintError(f"expected a run folder (one with a run.json), found none in {path}")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        number = int(manifest["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LossprintError(f"expected a readable run.json, found in {file}: {one_line(error)}") from None
    if number > FORMAT:
        raise LossprintError(
            f"expected a run of format {FORMAT} or older, found format {number} (written by lossprint "
            f"{manifest.get('lossprint', '?')}; this is {version()}) at {path}: upgrade lossprint to open it"
        )
    kinds = {"asked": dict, "dataset": dict, "stages": list, "facts": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(manifest.get(key), kind)]
    if wrong or not isinstance(manifest["dataset"].get("classes"), list):
        raise LossprintError(f"expected {', '.join(wrong) or 'the classes'} in {file}, found none or something else")
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
    if "epochs" not in asked:
        return f"{done} checkpoints recorded; continue it in your own loop with Recorder(..., resume=True)"
    command = f"lossprint audit {asked.get('dataset', 'DATASET')} --out {run.path} --resume"
    return f"{done} of {asked['epochs']} checkpoints recorded; continue it with: {command}"


def unmeasured(run: Run) -> bool:
    """Whether this is a built-in audit whose curvature or duplicates are still to come: scoring alone cannot end it."""
    return "epochs" in run.manifest["asked"] and "embed" not in run.stages


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
    """The numbers of the folders `prefix00003` that hold at least one whole Parquet file."""
    found = []
    for child in folder.glob(f"{prefix}[0-9]*"):
        if any(child.glob("rank-*.parquet")):
            found.append(int(child.name.removeprefix(prefix)))
    return sorted(found)
