"""WebDataset shards, written and read beside the library webdataset itself; damaged and strange tars."""

import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import webdataset
from braceexpand import braceexpand
from dataset_files import by_path, folder, message, png, tar
from helpers import refused
from set_runs import audited_by_command, exports_as_decided, snippets_of

from lossprint.audit.datasets.dataset import decode, image_reader, open_dataset
from lossprint.audit.datasets.kinds import open_reader, read_source
from lossprint.audit.datasets.readers.shards import expand
from lossprint.audit.types import LossprintError


def write(pattern, count, per_shard=4, first=0, **label):
    """Shards written by webdataset: image k has the value first + k; its class is k % 2, or what `label` makes of k."""
    Path(pattern).parent.mkdir(parents=True, exist_ok=True)
    label = label or {"cls": lambda k: k % 2}
    with webdataset.ShardWriter(str(pattern), maxcount=per_shard, verbose=0) as sink:
        for k in range(count):
            sample = {"__key__": f"{first + k:06d}", "png": png(first + k)}
            sink.write(sample | {name: make(k) for name, make in label.items()})


def some(count=4, name="{:03d}"):
    return [
        one
        for k in range(count)
        for one in ((f"{name.format(k)}.png", png(k)), (f"{name.format(k)}.cls", b"01"[k % 2 : k % 2 + 1]))
    ]


def test_a_pattern_of_shards_as_webdataset_reads_it(tmp_path):
    write(tmp_path / "imagenet-train-%06d.tar", 10)
    write(tmp_path / "imagenet-val-%06d.tar", 4, first=100)
    names = [f"{tmp_path}/imagenet-train-{k:06d}.tar" for k in range(3)] + [f"{tmp_path}/imagenet-val-000000.tar"]
    pattern = f"{tmp_path}/imagenet-{{train,val}}-{{000000..000000}}.tar"
    source = read_source(pattern)
    assert (source.kind, source.name, source.root) == ("webdataset", pattern, tmp_path)
    assert source.rows["split"].tolist() == ["train"] * 4 + ["val"] * 4
    whole = open_dataset(tmp_path)
    assert whole.samples["sample"].tolist() == list(range(14))
    assert whole.samples["path"][[0, 13]].tolist() == [
        "imagenet-train-000000.tar/000000.png",
        "imagenet-val-000000.tar/000103.png",
    ]
    assert whole.samples["split"].value_counts().to_dict() == {"train": 10, "val": 4}
    read = image_reader(tmp_path)
    theirs = list(webdataset.WebDataset(names, shardshuffle=False).decode("rgb8").to_tuple("__key__", "png", "cls"))
    assert len(theirs) == 14
    for row, (key, pixels, label) in zip(whole.samples.itertuples(), theirs):
        assert row.path.endswith(f"/{key}.png") and row.label == str(label)
        for reader in (whole.image, read):
            assert np.array_equal(np.asarray(reader(row.path)), pixels)
    assert decode(whole, 4, workers=6).tolist() == decode(whole, 4, workers=1).tolist()


def test_patterns_stand_for_what_a_shell_makes_of_them():
    for pattern in (
        "a.tar", "a-{000..012}.tar", "{train,val}/x-{0..3}.tar", "x-{8..11}.tar", "x-{08..11}.tar", "x-{3..1}.tar",
        "x-{a}.tar", "{a,b}{c,d}.tar", "s3://b/{x,y}-{00..01}.tar",
    ):  # fmt: skip
        assert expand(pattern) == list(braceexpand(pattern)), pattern
    with pytest.raises(LossprintError, match=r"at most 100,000 tar files, found 1,000,000,000"):
        expand("x-{000000000..999999999}.tar")
    with pytest.raises(LossprintError, match="once"):
        expand("x-{a,a}.tar")


def test_folders_of_splits(tmp_path):
    write(tmp_path / "set" / "train" / "%03d.tar", 8)
    write(tmp_path / "set" / "valid" / "%03d.tar", 4)
    for name in (tmp_path / "set", f"{tmp_path}/set/{{train,valid}}/{{000..000}}.tar"):
        source = read_source(name)
        assert set(source.rows["split"]) == {"train", "val"} and source.rows["path"][0] == "train/000.tar/000000.png"
    assert read_source(tmp_path / "set" / "valid").rows["split"].tolist() == ["train"] * 4  # alone: to be trained on
    assert read_source(tmp_path / "set" / "train" / "001.tar").rows["path"][0] == "001.tar/000004.png"
    tar(tmp_path / "set" / "train-val.tar", some())
    tar(tmp_path / "set" / "x.tar", some())
    assert "one of train, val and test" in message(f"{tmp_path}/set/{{train-val,x}}.tar")


def test_class_folders_beside_the_tar_that_they_came_in_are_class_folders(tmp_path):
    for split in ("train", "val"):
        folder(tmp_path / split, 2)
    tar(tmp_path / "data.tar", some())
    assert open_dataset(tmp_path).kind == "folder"


@pytest.mark.parametrize(
    ("member", "content", "label"),
    [
        ("cls", b"7", "7"), ("cls", b" 007\n", "7"), ("cls", "Kätzchen".encode(), "Kätzchen"), ("class", b"dog", "dog"),
        ("label", b"-1", "-1"), ("json", b'{"label": 3}', "3"), ("json", b'{"class": "dog", "id": 9}', "dog"),
        ("CLS", b"7", "7"),
    ],
)  # fmt: skip
def test_where_a_label_is(tmp_path, member, content, label):
    path = tar(tmp_path / "x.tar", [("a/b.c/01.png", png(3)), (f"a/b.c/01.{member}", content)])
    rows = read_source(path).rows
    assert rows[["path", "label"]].to_numpy().tolist() == [["x.tar/a/b.c/01.png", label]]


def test_the_first_kind_of_label_counts(tmp_path):
    members = [("1.json", b'{"label": "from json"}'), ("1.txt", b"a caption"), ("1.png", png(1)), ("1.cls", b"4")]
    assert read_source(tar(tmp_path / "x.tar", members)).rows["label"].tolist() == ["4"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classes.txt", "cat\ndog\n"), ("classnames.txt", "cat\r\ndog"), ("classes.json", '["cat", "dog"]'),
        ("classes.json", '{"1": "dog", "0": "cat"}'), ("classes.json", '{"dog": 1, "cat": 0}'),
    ],
)  # fmt: skip
def test_names_of_classes(tmp_path, file, content):
    tar(tmp_path / "x.tar", some())
    (tmp_path / file).write_bytes(content.encode())
    assert read_source(tmp_path / "x.tar").rows["label"].tolist() == ["cat", "dog"] * 2


def test_bad_names_of_classes(tmp_path):
    tar(tmp_path / "x.tar", some())
    for content, said in {
        "cat\n": "a class from 0 to 0, found 1 of x.tar/001", "cat\n\ndog": "an empty one", "crane\ncrane": None,
    }.items():  # fmt: skip
        (tmp_path / "classes.txt").write_text(content)
        if said:
            assert said in message(tmp_path / "x.tar")
        else:
            assert read_source(tmp_path / "x.tar").rows["label"].tolist()[:2] == ["crane (0)", "crane (1)"]
    (tmp_path / "classes.txt").unlink()
    for content in ('{"0": "a", "2": "b"}', "[1]", "{", "[" * 100_000):
        (tmp_path / "classes.json").write_text(content)
        assert "names of classes, found in classes.json" in message(tmp_path / "x.tar")


def test_what_is_left_out_is_said(tmp_path):
    link, device, hard = tarfile.TarInfo("l.png"), tarfile.TarInfo("d.png"), tarfile.TarInfo("h.png")
    link.type, link.linkname, device.type, hard.type, hard.linkname = b"2", "/etc/passwd", b"3", b"1", "000.png"
    members = [*some(), ("x.png", png(1)), ("y.cls", b"1"), ("z.txt", b"a caption"), ("__meta__/m.png", png(1))]
    members += [("readme", b""), (".hidden.png", png(1)), ("e.png", b""), ("e.cls", b"0"), link, device, hard]
    source = read_source(tar(tmp_path / "x.tar", members))
    assert source.rows["path"].tolist() == [*(f"x.tar/{k:03d}.png" for k in range(4)), "x.tar/e.png"]
    assert source.notes == (
        "left out, because without an image: 1 of 7 samples, such as x.tar/y",
        "left out, because without a label: 1 of 7 samples, such as x.tar/x",
        "passed over, because no plain files: 3 members of tars, such as x.tar/l.png",
    )
    assert source.faults == {4: "an empty file"}
    for path in (
        "x.tar/l.png",
        "x.tar/h.png",
        "x.tar/000.cls",
        "x.tar/../x.tar",
        "y.tar/000.png",
        "000.png",
        "/etc/passwd",
    ):
        with pytest.raises(LossprintError):
            open_reader(tmp_path / "x.tar").read(path)


def test_long_and_strange_names(tmp_path):
    name = "d" * 90 + "/" + "ü" * 120 + "/../{:03d}"  # it is a name and no more: nothing is unpacked
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tar(tmp_path / "x.tar", some(name=name), kind)
        source = read_source(path)
        assert source.rows["path"][3] == f"x.tar/{name.format(3)}.png"
        assert np.asarray(open_reader(path).read(source.rows["path"][3]))[0, 0, 0] == 3
    assert list(tmp_path.iterdir()) == [path]


def test_unreadable_images_are_listed(tmp_path):
    members = some(12)
    members[4] = ("002.png", b"no image")
    members[10] = ("005.png", png(5)[:50])
    dataset = open_dataset(tar(tmp_path / "x.tar", members))
    assert dataset.unreadable["path"].tolist() == ["x.tar/002.png", "x.tar/005.png"]
    assert by_path(dataset, "sample")["x.tar/006.png"] == 6 and len(dataset.samples) == 10


def test_fingerprint(tmp_path):
    marks = []
    for members in (
        some(),
        some(),
        [("000.png", png(0)), ("000.cls", b"1"), *some()[2:]],
        [("000.png", png(0, (200, 200))), *some()[1:]],
    ):
        marks.append(read_source(tar(tmp_path / "x.tar", members)).fingerprint)
    assert marks[0] == marks[1] and len(set(marks)) == 3


def test_threads_read_alike(tmp_path):
    """Also where a shard is first looked through by several at once."""
    write(tmp_path / "%03d.tar", 60, per_shard=15)
    paths = read_source(tmp_path).rows["path"].tolist() * 5
    read = open_reader(tmp_path).read
    with ThreadPoolExecutor(8) as pool:
        assert [int(np.asarray(image)[0, 0, 0]) for image in pool.map(read, paths)] == list(range(60)) * 5


# ------------------------------------------------------------------------------------------------- bad tars


def test_a_tar_that_was_cut_off(tmp_path):
    """Refused, but between two members: what is before such a cut is there, with a note. A sample has 2,048 bytes."""
    whole = tar(tmp_path / "x.tar", some()).read_bytes()
    for length in range(0, 8193, 128):
        (tmp_path / "x.tar").write_bytes(whole[:length])
        if length % 1024 or length < 2048:
            assert "x.tar" in message(tmp_path / "x.tar"), length
        else:
            source = read_source(tmp_path / "x.tar")
            assert source.rows["path"].tolist() == [f"x.tar/{k:03d}.png" for k in range(length // 2048)]
            assert source.notes[-1] == "without the mark that ends a tar, as if cut off: 1 shards, such as x.tar"


def test_damaged_tars(tmp_path):
    path = tmp_path / "x.tar"
    whole = tar(path, some()).read_bytes()
    path.write_bytes(whole[:2048] + b"\1" * 512 + whole[2560:])  # the third header
    assert "damaged after byte 2,048" in message(path)
    for content in (b"", b"no tar at all", os.urandom(2048)):
        path.write_bytes(content)
        assert "a tar that is whole and not compressed" in message(path)
    with tarfile.open(path, "w:gz") as file:
        file.addfile(tarfile.TarInfo("a.png"))
    assert "not compressed" in message(path)
    for name in ("x.tar.gz", "x.tgz"):
        assert "gunzip it" in message(tmp_path / name)
    (tmp_path / "gz").mkdir()
    (tmp_path / "gz" / "x.tar.gz").touch()
    assert "gunzip it" in message(tmp_path / "gz")
    assert "found none at" in message(tmp_path / "no.tar") and "x-1.tar" in message(tmp_path / "x-{1..2}.tar")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("a.png", png(1)), ("a.jpg", png(1)), ("a.cls", b"1")], "found 'a.png' and 'a.jpg'"),
        ([*some(), *some()], "one image a sample"),
        ([("a.png", png(1)), ("a.cls", b"1"), ("a.cls", b"2")], "'a.cls' again"),
        ([("a.png", png(1)), ("a.cls", b"\xff")], "a label in 'a.cls'"),
        ([("a.png", png(1)), ("a.cls", b"a\nb")], "several lines"),
        ([("a.png", png(1)), ("a.cls", b"x" * 2_000_000)], "2,000,000 bytes"),
        ([("a.png", png(1)), ("a.json", b"{")], "a label in 'a.json'"),
        ([("a.png", png(1)), ("a.json", b"[" * 100_000)], "a label in 'a.json'"),
        ([("a.png", png(1)), ("a.json", b'{"label": [1]}')], "neither text nor a whole number"),
        ([("a.png", png(1)), ("a.json", b'{"caption": "x"}'), ("a.txt", b"x")], ".cls, .class, .label or .json with"),
        ([("a.txt", b"x")], "found 0 without an image"),
        ([], "found 0 without an image"),
    ],
)
def test_bad_samples(tmp_path, members, said):
    found = message(tar(tmp_path / "x.tar", members))
    assert said in found and "x.tar" in found, found


def test_a_header_that_leads_in_circles(tmp_path):
    """A size below zero would have the reader go back for ever."""
    path = tar(tmp_path / "x.tar", some())
    content = bytearray(path.read_bytes())
    header = bytearray(content[1024:1536])
    header[124:136] = b"\xff" * 10 + b"\xfa\x00"  # base 256: -1536
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[1024:1536] = header
    path.write_bytes(content)
    assert "x.tar" in message(path)


# ------------------------------------------------------------------------------------------------- end to end


class Items(list):
    """A dataset of one's own, made of (path, image)."""

    @property
    def paths(self):
        return [path for path, _ in self]


def test_shards_elsewhere(tmp_path):
    """Over fsspec, here its file system in memory."""
    import fsspec

    write(tmp_path / "train-%03d.tar", 8)
    (tmp_path / "classes.txt").write_text("cat\ndog")
    memory = fsspec.filesystem("memory")
    for file in tmp_path.iterdir():
        memory.pipe(f"/bucket/set/{file.name}", file.read_bytes())
    name = "memory://bucket/set/train-{000..001}.tar"
    source, here = read_source(name), read_source(f"{tmp_path}/train-{{000..001}}.tar")
    assert source.rows.equals(here.rows) and source.fingerprint == here.fingerprint
    assert (source.name, source.root) == (name, "memory://bucket/set")
    read = open_reader(name).read
    assert [np.asarray(read(path))[0, 0, 0] for path in source.rows["path"]] == list(range(8))
    assert "nothing at" in message("memory://bucket/set/none.tar")
    memory.pipe("/bucket/set/train-001.tar", memory.cat("/bucket/set/train-001.tar").rstrip(b"\0")[:-1])
    with pytest.raises(LossprintError, match="cut off within"):
        open_reader(name).read("train-001.tar/000004.png")
    memory.rm("/bucket", recursive=True)
    assert "nosuch" in message("nosuch://bucket/x.tar")


def test_audit_and_exports(tmp_path, capsys, monkeypatch):
    write(
        tmp_path / "data" / "train-%03d.tar",
        24,
        per_shard=9,
        json=lambda k: json.dumps({"label": "xy"[k % 2]}).encode(),
    )
    write(tmp_path / "data" / "test-%03d.tar", 6, json=lambda k: json.dumps({"label": "xy"[k % 2]}).encode())
    name = str(tmp_path / "data")
    run = audited_by_command(name, tmp_path / "run")
    assert run.manifest["dataset"]["kind"] == "webdataset" and len(run.samples()) == 30
    exports_as_decided(run, name, tmp_path)
    own = list(webdataset.WebDataset(f"{name}/train-{{000..002}}.tar", shardshuffle=False))
    dataset = Items([(f"{Path(one['__url__']).name}/{one['__key__']}.png", one["png"]) for one in own])
    left = snippets_of(run, tmp_path, monkeypatch, dataset=dataset)
    files = dict(left["List of paths"]["files"])
    assert len(files) > 5 and {dataset[at][0] for at in left["PyTorch Subset"]["train"].indices} == set(files)
    assert all(image_reader(name)(path).size == (4, 4) for path in files)
    assert "found WebDataset shards" in refused(capsys, "export", "manifest", run.path, "--out", tmp_path / "m.csv")
    inside = tmp_path / "data" / "clean"
    assert "outside the dataset's own" in refused(capsys, "export", "cleaned", run.path, "--out", inside)
    assert "outside the dataset's folder" in refused(capsys, "audit", name, "--out", inside)
