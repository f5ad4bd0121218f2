"""Video files beside a CSV of segments -> frames as JPEG files and their manifest, in RUN/frames/.

Frame k of a video is what it shows k / rate seconds after its first picture: the number counts the samples, and says
the time whatever the frame rate and however it varies. Rotation and pixels that are not square are undone, and the
longer side is at most `SIDE` pixels. A video is decoded once, from its start to its end, a picture at a time:

    RUN/frames/
      labels.csv                      path, label[, split], sequence, frame, seconds, source_frame: an ordinary manifest
      images/SEQUENCE/000037.jpg      only frames in a segment
      images/SEQUENCE/video.json      what it was made from and with: one that is whole is not made again
      segments.csv                    the segments as they were
      segments.json                   rate, side, unit, ... and what there is to note; see `segments.sampling`
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path

import pandas as pd
from PIL import Image

from lossprint.audit.datasets.kinds import kind_of
from lossprint.audit.datasets.readers.manifests import DECODED
from lossprint.audit.runs.open import refuse_others, version
from lossprint.audit.runs.run import VIDEO_FRAMES
from lossprint.audit.system.atomic import write_bytes, write_text
from lossprint.audit.system.csvfile import write_csv
from lossprint.audit.system.progress import Bar, bar_style
from lossprint.audit.types import LossprintError, one_line
from lossprint.audit.video.segments import COPY, Segments, ranges, read_segments, read_video

EXTENSIONS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
# What FFmpeg may take a file for, and that it may open nothing else: a playlist named .mp4 could name any file or host.
GUARDS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo",
    "protocol_whitelist": "file",
}
RATE = 1.0  # sampled frames a second
FASTEST = 1000
SIDE = 256  # px, the longer side of a decoded frame
QUALITY = 90  # of its JPEG
EARLY = Fraction(1, 1000)  # s; Matroska and others round times to a millisecond
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
Tick = Callable[[], object]


@dataclass(frozen=True)
class Video:
    """A video file as its header describes it; `seconds` and `frames` may be wrong or unknown (None) there."""

    sequence: str
    file: Path
    fps: Fraction
    seconds: float | None
    frames: int | None


def asked(dataset: str, rate: float | None) -> dict:
    """What an audit is asked beside its usual options: {"rate": rate} for segments of videos, else nothing.

    Raises LossprintError for a rate where the dataset is not of videos, and for one that is none.
    """
    if rate is not None and not 0 < rate <= FASTEST:
        raise LossprintError(f"expected a rate over 0 and up to {FASTEST} frames a second, found {rate}")
    if kind_of(dataset).name == "segments":
        return {"rate": rate}
    if rate is not None:
        raise LossprintError(
            f"expected --rate only with segments of videos (sequence,start,end,label), found {dataset}"
        )
    return {}


def prepared(dataset: str, out: str | Path, rate: float | None = None, quiet: bool = False) -> str:
    """The DATASET to open: for segments of videos the manifest of their frames, decoded into OUT/frames; else itself.

    What an earlier, killed call decoded whole is kept. In a run that has begun, the frames are those that it began
    with. Raises LossprintError, before any network is trained, for bad segments and bad videos.
    """
    if kind_of(dataset).name != "segments":
        return dataset
    path, folder = Path(dataset).expanduser().absolute(), Path(out).absolute() / VIDEO_FRAMES
    manifest = folder / "labels.csv"
    if (Path(out) / "run.json").is_file():
        if not manifest.is_file():
            raise LossprintError(f"expected the decoded frames of {path.name} in {folder}, found no labels.csv there")
        if (folder / COPY).read_bytes() != path.read_bytes():
            raise LossprintError(
                f"expected the segments with which {out} was begun, found others in {path}: choose another --out"
            )
        return str(manifest)
    found = read_segments(path)
    videos = [_probe(name, file) for name, file in _files(found).items()]
    refuse_others(Path(out), folder)
    if folder.exists() and not (folder / DECODED).is_file():
        raise LossprintError(f"expected a new or empty folder for the run, found other files at {folder}")
    _decode_all(found, videos, folder, Fraction(str(rate or RATE)), quiet)
    return str(manifest)


# --------------------------------------------------------------------------------------------------- the video files


def _files(found: Segments) -> dict[str, Path]:
    """The video file of each sequence. Raises LossprintError where one has none, or several."""
    beside: dict[str, list[Path]] = {}
    for file in sorted(found.path.parent.iterdir()):
        if file.suffix.lower() in EXTENSIONS and not file.name.startswith("."):
            beside.setdefault(file.stem, []).append(file)
            beside.setdefault(file.name, []).append(file)  # for who writes the extension as well
    files = {}
    for name in found.sequences:
        mine, line = beside.get(name, []), found.of(name)["line"].min()
        if len(mine) != 1:
            expected = f"one video {name!r} ({', '.join(EXTENSIONS)}) beside {found.path}"
            several = " and ".join(file.name for file in mine[:3]) or "none"
            raise LossprintError(f"expected {expected} for {line}, found {several}")
        if not mine[0].is_file():  # a pipe would block for ever
            raise LossprintError(f"expected a video file at {mine[0]}, found something that is no file")
        files[name] = mine[0]
    return files


@contextmanager
def _opened(file: Path) -> Iterator[tuple]:
    """The container and its main video stream. Raises LossprintError for whatever is wrong with the file."""
    try:
        import av
    except ImportError:
        raise LossprintError("expected PyAV to decode videos, found none: pip install 'lossprint[video]'") from None
    try:
        with av.open(str(file), container_options=GUARDS) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise LossprintError(f"expected a video at {file}, found a file without pictures")
            stream.thread_type = "AUTO"
            width, height = stream.codec_context.width, stream.codec_context.height
            if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
                raise LossprintError(f"expected a video at {file}, found pictures of {width} x {height} pixels")
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise LossprintError(f"expected a video that can be decoded at {file}, found: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or one_line(error)).lower()


def _probe(sequence: str, file: Path) -> Video:
    """Read the header and decode the first picture."""
    with _opened(file) as (container, stream):
        if next(_pictures(container, stream, []), None) is None:
            raise LossprintError(f"expected a video that can be decoded at {file}, found no picture that can")
        fps = Fraction(stream.average_rate or stream.guessed_rate or 25)
        seconds = None
        if stream.duration is not None:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            seconds = container.duration / 1_000_000
        frames = stream.frames or (None if seconds is None else round(seconds * fps))
        return Video(sequence, file, fps, seconds, frames)


def _pictures(container, stream, damaged: list[Fraction]) -> Iterator[tuple[Fraction, Fraction, object]]:
    """Every picture with its time since the first one and how long it is shown at least, in seconds, in their order.

    Packets that cannot be decoded are passed over: `damaged` gets the time of the picture before each.
    """
    import av

    first = last = None
    step = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.FFmpegError:
            damaged.append(last or Fraction(0))
            continue
        for frame in frames:
            base = frame.time_base or stream.time_base
            time = frame.pts * base if frame.pts is not None else None
            if first is None:
                first, last = time or Fraction(0), -step
            # Without a time of its own, or with one that runs back, it comes a step later.
            now = last + step if time is None or time - first <= last else time - first
            last = now
            yield now, Fraction(frame.duration * base) if getattr(frame, "duration", 0) else step, frame


def _upright(frame, ratio: Fraction | None) -> Image.Image:
    """A decoded picture as RGB, upright, its longer side at most `SIDE` px. ratio: width to height of a pixel."""
    width, height = frame.width * float(ratio or 1), float(frame.height)
    scale = min(1.0, SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation="AREA").to_image()
    turn = round(frame.rotation / 90) * 90 % 360
    return image.transpose(TURNS[turn]) if turn else image


# ---------------------------------------------------------------------------------------------------------- decoding


def _decode_all(found: Segments, videos: list[Video], folder: Path, rate: Fraction, quiet: bool) -> None:
    """Decode what is not decoded yet, then write the tables; labels.csv last."""
    about = {"lossprint": version(), "source": str(found.path), "rate": float(rate), "side": SIDE}
    about |= {"unit": found.unit, "inclusive": found.inclusive, "notes": []}
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").unlink(missing_ok=True)
    write_text(folder / DECODED, json.dumps(about) + "\n")
    for other in images.iterdir():  # of a killed call, or of other segments
        if other.name not in found.sequences:
            shutil.rmtree(other)
    todo = [video for video in videos if not _is_decoded(images / video.sequence, _key(found, video, rate))]
    todo.sort(key=lambda video: not _seems_short(found, video, rate))  # a fault is found early
    total = sum(video.frames or 0 for video in todo)
    with Bar(total=total or None, unit="frame", desc="videos", disable=quiet or not todo, **bar_style()) as bar:
        for video in todo:
            _decode(found, video, images, rate, bar.update)
    records = {video.sequence: read_video(images / video.sequence) for video in videos}
    table = _manifest(found, records, rate)
    if table.empty:
        raise LossprintError(
            f"expected frames in the segments of {found.path}, found none at {float(rate):g} a second: choose a higher "
            "--rate"
        )
    about["videos"] = {
        name: {key: one[key] for key in ("file", "fps", "seconds", "pictures")} for name, one in records.items()
    }
    about["notes"] = _notes(found, records, table, rate)
    write_bytes(folder / COPY, found.path.read_bytes())
    write_text(folder / DECODED, json.dumps(about, indent=1) + "\n")
    write_csv(table, folder / "labels.csv")


def _key(found: Segments, video: Video, rate: Fraction) -> dict:
    """All that the decoded frames of a video depend on."""
    status = os.stat(video.file)
    mine = ranges(found, video.sequence, rate)
    digest = blake2b(repr((found.unit, mine.first, mine.stop)).encode(), digest_size=16).hexdigest()
    about = {"bytes": status.st_size, "modified": status.st_mtime_ns, "rate": str(rate), "side": SIDE}
    return about | {"quality": QUALITY, "segments": digest}


def _is_decoded(folder: Path, key: dict) -> bool:
    try:
        return read_video(folder).get("key") == key
    except LossprintError:
        return False


def _seems_short(found: Segments, video: Video, rate: Fraction) -> bool:
    """Whether a segment ends after the video, if its header is right."""
    end = found.of(video.sequence)["end"].max()
    seconds = end / video.fps if found.unit == "frames" else end
    return video.seconds is not None and seconds > video.seconds + 1 / rate


def _decode(found: Segments, video: Video, images: Path, rate: Fraction, tick: Tick) -> None:
    """The wanted frames of one video into images/SEQUENCE, whole or not at all."""
    part = images / ".decoding"  # no name of a sequence, which never starts with a dot
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        record = _sample(found, video, part, rate, tick)
        write_text(part / "video.json", json.dumps(record) + "\n")
        shutil.rmtree(images / video.sequence, ignore_errors=True)
        part.rename(images / video.sequence)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sample(found: Segments, video: Video, part: Path, rate: Fraction, tick: Tick) -> dict:
    """Write the wanted frames into a folder; what `read_video` gives. Raises LossprintError, see `_refuse_short`."""
    wanted, kept, source, damaged = ranges(found, video.sequence, rate), [], [], []
    count = index = sampled = 0
    before, longest, length = None, Fraction(0), Fraction(0)

    def take(until: Fraction) -> None:
        """The samples that the picture before shows, up to the time of the next one."""
        nonlocal sampled
        image = None
        while sampled / rate + EARLY < until:
            if wanted.row(sampled if found.unit == "seconds" else index) is not None:
                image = image or _upright(before, ratio)
                image.save(part / f"{sampled:06d}.jpg", quality=QUALITY)
                kept.append(sampled)
                source.append(index)
            sampled += 1

    with _opened(video.file) as (container, stream):
        ratio = stream.sample_aspect_ratio
        for time, shown, frame in _pictures(container, stream, damaged):
            if before is not None:
                take(time)
                longest = max(longest, time - length) if damaged else longest
            before, index, length = frame, count, time + shown
            count += 1
            tick()
        if before is not None:
            take(length + EARLY)
    if longest > 1 / rate:
        raise LossprintError(
            f"expected a video that can be decoded at {video.file}, found it damaged near {float(damaged[0]):.1f} s: "
            f"{float(longest):.1f} s are missing"
        )
    _refuse_short(found, video, length, count, rate)
    return {
        "key": _key(found, video, rate),
        "file": video.file.name,
        "fps": str(video.fps),
        "seconds": round(float(length), 3),
        "pictures": count,
        "sampled": sampled,
        "damaged": len(damaged),
        "frames": kept,
        "source": source,
    }


def _refuse_short(found: Segments, video: Video, length: Fraction, count: int, rate: Fraction) -> None:
    """Raise LossprintError where a segment goes past the end of the video by more than the step of the samples."""
    in_frames = found.unit == "frames"
    end, slack = (count, video.fps / rate) if in_frames else (length, 1 / rate)
    past = [row for row in found.of(video.sequence).itertuples() if row.end > end + slack]
    if not past:
        return
    has = f"{count:,} frames" if in_frames else f"{float(length):.2f} s"
    where = f"{float(past[0].end - found.inclusive):.10g}{'' if in_frames else ' s'} in {past[0].line} of {found.path}"
    hint = ""
    if video.seconds is not None and video.seconds > length + max(1 / rate, 1):
        hint = f": the file is cut off or damaged, as it says that it has {video.seconds:.2f} s"
    elif not in_frames and all(row.end <= count + 1 and row.end == int(row.end) for row in past):
        hint = ": frame numbers belong in the columns start_frame and end_frame"
    raise LossprintError(
        f"expected segments within {video.file.name}, of which {has} can be decoded, found one up to {where}{hint}"
    )


# ------------------------------------------------------------------------------------------------------- its tables


def _manifest(found: Segments, records: dict[str, dict], rate: Fraction) -> pd.DataFrame:
    """The rows of labels.csv, by sequence in the order of the file, and by frame."""
    labels, splits = found.table["label"].to_numpy(object), found.table["split"].to_numpy(object)
    parts = []
    for name, record in records.items():
        mine, frames, source = ranges(found, name, rate), record["frames"], record["source"]
        rows = [mine.row(number) for number in (frames if found.unit == "seconds" else source)]
        part = {
            "path": [f"images/{name}/{number:06d}.jpg" for number in frames],
            "label": labels[rows],
            "split": splits[rows],
            "sequence": name,
            "frame": frames,
            "seconds": [round(float(number / rate), 3) for number in frames],
            "source_frame": source,
        }
        parts.append(pd.DataFrame(part))
    table = pd.concat(parts, ignore_index=True)
    return table if "split" in found.header else table.drop(columns="split")


def _notes(found: Segments, records: dict[str, dict], table: pd.DataFrame, rate: Fraction) -> list[str]:
    every = sum(one["sampled"] for one in records.values())
    videos = f"{len(records):,} video{'s' * (len(records) != 1)}"
    notes = [f"decoded {videos} at {float(rate):g} frames a second: {len(table):,} frames in segments"]
    if every > len(table):
        notes.append(f"left out, because in no segment: {every - len(table):,} of {every:,} frames")
    if found.unit == "frames":
        last = "the last frame of its segment" if found.inclusive else "the first frame after its segment"
        notes.append(f"end_frame is taken as {last}, as most neighbours in {found.path.name} have it")
    held = set()
    for name, one in records.items():
        mine = ranges(found, name, rate)
        held |= {mine.row(number) for number in (one["frames"] if found.unit == "seconds" else one["source"])}
    if short := [row for row in found.table.index if row not in held]:
        notes.append(
            f"{len(short):,} of {len(found.table):,} segments hold no frame at this rate, such as in "
            f"{found.table['line'][short[0]]}: choose a higher --rate to look at them"
        )
    for name, one in records.items():
        if one["damaged"]:
            notes.append(f"{one['damaged']:,} damaged packets of {one['file']} were passed over")
        if rate > Fraction(one["fps"]) * Fraction(101, 100):
            notes.append(f"{name} has only {float(Fraction(one['fps'])):.4g} frames a second: some are repeated")
    return notes
