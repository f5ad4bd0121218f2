"""Features that are kept: a second audit at once, a pass that goes on, and what makes others of them."""

import shutil

import backbones_of_users
import numpy as np
import pytest
import torch
from conftest import cut_demo
from torch import nn

from lossprint.audit.training import backbones
from lossprint.audit.workflow import feature_cache
from lossprint.audit.workflow.audit import audit
from lossprint.audit.workflow.feature_cache import Store, kept, key_of


class Bar:
    n = 0

    def update(self, count):
        self.n += count


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSPRINT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def digests(count: int, start: int = 0) -> list[str]:
    return [f"{start + at:032x}" for at in range(count)]


def vectors(rows: np.ndarray) -> np.ndarray:
    return np.stack([rows, rows * 0.1, rows + 1.0], axis=1).astype(np.float32)


def filled(store, names, make=vectors):
    calls, bar = [], Bar()

    def made(rows):
        calls.append(len(rows))
        return make(rows)

    found = store.fill(names, make(np.zeros(1))[0], made, bar)
    return found, sum(calls)


def test_what_is_kept_is_not_made_again_in_any_order(folder, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD", 4)
    found, made = filled(Store("a"), digests(10))
    assert made == 10 and len(list((folder / "a").glob("*.safetensors"))) == 3
    np.testing.assert_array_equal(found, vectors(np.arange(10)).astype(np.float16).astype(np.float32))
    again, made = filled(Store("a"), digests(10))
    assert made == 0
    np.testing.assert_array_equal(again, found)
    order = [0, 7, 3, 7]
    again, made = filled(Store("a"), [digests(10)[at] for at in order])
    assert made == 0
    np.testing.assert_array_equal(again, found[order])
    assert filled(Store("a"), digests(12))[1] == 2 and filled(Store("b"), digests(10))[1] == 10


def test_a_pass_that_was_cut_off_goes_on(folder, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD", 4)

    def dies(rows):
        if rows[0] >= 8:
            raise KeyboardInterrupt
        return vectors(rows)

    with pytest.raises(KeyboardInterrupt):
        filled(Store("a"), digests(10), dies)
    found, made = filled(Store("a"), digests(10))
    assert made == 2
    np.testing.assert_allclose(found, vectors(np.arange(10)), rtol=1e-3)


def test_of_other_code_with_the_same_name_nothing_is_taken(folder):
    filled(Store("a"), digests(5))
    found, made = filled(Store("a"), digests(5), lambda rows: vectors(rows) * 3 + 1)
    assert made == 5
    np.testing.assert_allclose(found, vectors(np.arange(5)) * 3 + 1, rtol=1e-3)


def test_a_damaged_shard_is_made_again(folder):
    found, _ = filled(Store("a"), digests(5))
    (file,) = (folder / "a").glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    again, made = filled(Store("a"), digests(5))
    assert made == 5
    np.testing.assert_array_equal(again, found)


def test_numbers_that_float16_cannot_hold_stay_whole():
    assert kept(np.ones((2, 3), np.float32)).dtype == np.float16
    large = np.full((2, 3), 1e6, np.float32)
    np.testing.assert_array_equal(kept(large), large)


def test_nothing_is_kept_without_room_and_old_folders_go(folder, monkeypatch):
    monkeypatch.setenv("LOSSPRINT_CACHE_BYTES", "0")
    assert filled(Store("a"), digests(5))[1] == 5 and not folder.exists()
    monkeypatch.setenv("LOSSPRINT_CACHE_BYTES", "500")
    filled(Store("a"), digests(5))
    filled(Store("b"), digests(5))
    assert [one.name for one in folder.iterdir()] == ["b"]


def test_another_weight_precision_or_transform_is_another_key():
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    key = key_of("a", module, {"size": 224}, False, None)
    assert key == key_of("a", module, {"size": 224}, False, None)
    others = [
        key_of("a", module, {"size": 160}, False, None),
        key_of("a", module, {"size": 224}, True, None),
        key_of("b", module, {"size": 224}, False, None),
    ]
    with torch.no_grad():
        module.weight[0, 0] += 1e-3
    assert len({key, *others, key_of("a", module, {"size": 224}, False, None)}) == 5


def test_a_second_audit_looks_at_no_image_again(folder, tmp_path, monkeypatch):
    shutil.copyfile(backbones_of_users.__file__, tmp_path / "backbones_kept.py")
    monkeypatch.chdir(tmp_path)
    labels = cut_demo(tmp_path / "data", 12, 4)
    first = audit(str(labels), tmp_path / "a", model="frozen:backbones_kept:filters", quiet=True)
    monkeypatch.setattr(backbones, "features", lambda *_: pytest.fail("looked again"))
    second = audit(str(labels), tmp_path / "b", model="frozen:backbones_kept:filters", quiet=True, seed=1)
    np.testing.assert_array_equal(first.embeddings()[1], second.embeddings()[1])
    size = (first.path / "embeddings.safetensors").stat().st_size
    assert 2 * 48 * 512 <= size < 2 * 48 * 512 + 2000
    third = audit(str(labels), tmp_path / "c", model="frozen:backbones_kept:filters", quiet=True)
    assert first.scores().equals(third.scores())


def test_a_pass_that_takes_hours_says_so_once(capsys):
    class Long(Bar):
        total, disable, n = 500_000, False, 128

    backbones._say_hours(20.0, Long())
    assert "features of 499,872 images take about 6.9 hours at 20.0 a second" in capsys.readouterr().err
    backbones._say_hours(20_000.0, Long())
    Long.disable = True
    backbones._say_hours(20.0, Long())
    assert capsys.readouterr().err == ""
