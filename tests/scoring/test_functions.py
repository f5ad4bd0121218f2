"""The functions of lossprint.scoring: (N, E) in all of them, tensors and arrays alike, the wrong way round refused."""

import inspect
import re
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, TensorDataset

from lossprint import scoring
from lossprint.scoring import functions, labels, trajectory

N, M, E, C = 60, 30, 8, 3


@pytest.fixture
def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {
        "losses": rng.gamma(1, 1, (N, E)).astype(np.float32),
        "val_losses": rng.gamma(1, 1, (M, E)).astype(np.float32),
        "labels": rng.integers(0, C, N),
        "val_labels": rng.integers(0, C, M),
        "margins": rng.normal(size=(N, E)),
        "predicted": rng.integers(0, C, (N, E)),
    }


def beside(data: dict) -> tuple:
    return data["losses"], data["labels"], data["val_losses"], data["val_labels"]


def test_they_are_the_modules_scores_turned(data):
    means = trajectory.class_means(data["val_losses"].T, data["val_labels"], C)
    np.testing.assert_array_equal(scoring.cld(*beside(data)), trajectory.cld(data["losses"].T, data["labels"], means))
    np.testing.assert_array_equal(scoring.ltc(*beside(data)), trajectory.ltc(data["losses"].T, data["labels"], means))
    np.testing.assert_allclose(scoring.csl(data["losses"]), data["losses"].mean(axis=1, dtype=float))
    np.testing.assert_allclose(scoring.aum(data["margins"]), data["margins"].mean(axis=1))
    np.testing.assert_allclose(scoring.data_map(data["losses"])[0], np.exp(-data["losses"].astype(float)).mean(axis=1))
    right = data["predicted"] == data["labels"][:, None]
    assert scoring.forgetting(right)[0] == trajectory.forgetting(right.T)[0]
    found = scoring.partners(data["losses"], data["val_losses"], 3)
    correlations = np.corrcoef(data["losses"], data["val_losses"])[:N, N:]
    np.testing.assert_array_equal(found.aligned[:, 0], correlations.argmax(axis=1))
    own = scoring.partners(data["losses"], data["val_losses"], 1, labels=data["labels"], val_labels=data["val_labels"])
    np.testing.assert_array_equal(data["val_labels"][own.conflicting[:, 0]], data["labels"])


KINDS = {
    "bfloat16 that wants a gradient": lambda values: torch.tensor(values).bfloat16().requires_grad_(),
    "half": lambda values: torch.tensor(values).half(),
    "float64": lambda values: torch.tensor(values).double(),
    "a view that is not contiguous": lambda values: torch.tensor(values.T.copy()).T,
    "lists": lambda values: values.tolist(),
    "a list of tensors": lambda values: list(torch.tensor(values)),
    "a data frame": pd.DataFrame,
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_values_serves(data, kind):
    losses, labels, val_losses, val_labels = beside(data)
    scores = scoring.cld(KINDS[kind](losses), torch.tensor(labels), KINDS[kind](val_losses), val_labels.tolist())
    np.testing.assert_allclose(
        scores, scoring.cld(*beside(data)), atol=0.05 if "16" in kind or kind == "half" else 1e-6
    )


def test_labels_may_be_names(data):
    names = np.array(["cat", "dog", "eel"])
    told = data["losses"], names[data["labels"]], data["val_losses"], names[data["val_labels"]].tolist()
    np.testing.assert_array_equal(scoring.cld(*told), scoring.cld(*beside(data)))
    with pytest.raises(ValueError, match="of one kind"):
        scoring.cld(data["losses"], data["labels"], data["val_losses"], names[data["val_labels"]])


TURNED = {
    "cld": lambda d: scoring.cld(d["losses"].T, d["labels"], d["val_losses"], d["val_labels"]),
    "its validation losses": lambda d: scoring.ltc(d["losses"], d["labels"], d["val_losses"].T, d["val_labels"]),
    "label_errors": lambda d: scoring.label_errors(d["losses"].T, d["labels"]),
    "margins": lambda d: scoring.label_errors(d["losses"], d["labels"], margins=d["margins"].T),
    "partners": lambda d: scoring.partners(
        d["losses"].T, d["val_losses"].T, labels=d["labels"], val_labels=d["val_labels"]
    ),
    "undefined_reasons": lambda d: scoring.undefined_reasons(
        torch.tensor(d["losses"].T), d["labels"], d["val_losses"], d["val_labels"]
    ),
}


@pytest.mark.parametrize("name", TURNED)
def test_the_wrong_way_round_is_refused(data, name):
    with pytest.raises(ValueError, match=r"transpose them"):
        TURNED[name](data)


def test_the_wrong_way_round_is_warned_of_where_no_label_tells(data):
    with pytest.warns(UserWarning, match="24 samples with 5,000 checkpoints each") as said:
        scoring.csl(np.ones((24, 5000), np.float32))
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scoring.csl(np.ones((2, 90)))
        scoring.csl(np.ones((5000, 24)))


def test_suggested_labels_and_weights_of_the_validation(data):
    d = data
    errors = scoring.label_errors(
        d["losses"], d["labels"], margins=d["margins"], predicted=d["predicted"], val_losses=d["val_losses"]
    )
    assert errors.severity.shape == (N,) and set(errors.suggested) <= {-1, 0, 1, 2}
    assert set(scoring.triage(errors)) <= {"wrong", "ambiguous", "hard", ""}
    plain = scoring.label_errors(d["losses"], d["labels"], margins=d["margins"])
    assert not np.allclose(plain.severity, errors.severity)
    val_margins = np.random.default_rng(2).normal(size=d["val_losses"].shape)
    known = {"margins": d["margins"], "val_losses": d["val_losses"], "val_margins": val_margins}
    new = labels.newness(labels.fit(d["losses"].T, d["margins"].T), labels.fit(d["val_losses"].T, val_margins.T))
    weights = labels.checkpoint_weights(d["val_losses"].T, new)
    same = scoring.label_errors(d["losses"], d["labels"], margins=d["margins"], weights=weights)
    assert np.array_equal(scoring.label_errors(d["losses"], d["labels"], **known).severity, same.severity)
    for more in ({"val_losses": d["val_losses"][:, :3]}, {"weights": np.ones(3)}):
        with pytest.raises(ValueError, match=r"checkpoint"):
            scoring.label_errors(d["losses"], d["labels"], **more)


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 6), torch.nn.Tanh(), torch.nn.Linear(6, C))


def images(ids: bool = False) -> TensorDataset:
    generator = torch.Generator().manual_seed(2)
    inputs, labels = torch.randn(20, 4, 4, generator=generator), torch.randint(0, C, (20,), generator=generator)
    return TensorDataset(*([torch.arange(20)] if ids else []), inputs, labels)


def test_a_data_loader_is_what_curvature_is_measured_on():
    model = network()
    plain = scoring.curvature(model, DataLoader(images(), batch_size=7))
    mixed = scoring.curvature(model, DataLoader(images(ids=True), batch_size=7, shuffle=True))
    order = np.argsort(mixed.samples)
    np.testing.assert_array_equal(plain.samples, mixed.samples[order])
    np.testing.assert_allclose(plain.curvature, mixed.curvature[order], rtol=1e-4)
    ids, scores = scoring.membership(model, list(DataLoader(images(), batch_size=20)), draws=2)
    assert ids.tolist() == list(range(20)) and np.isfinite(scores).all()


class Stream(IterableDataset):
    def __iter__(self):
        return iter(images())


UNTOLD = {
    "RandomSampler": lambda: DataLoader(images(), batch_size=7, shuffle=True),
    "SubsetRandomSampler": lambda: DataLoader(images(), sampler=torch.utils.data.SubsetRandomSampler(range(9))),
    "RandomSampler of batches": lambda: DataLoader(
        images(), batch_sampler=BatchSampler(RandomSampler(range(20)), 5, False)
    ),
    "list": lambda: DataLoader(images(), batch_sampler=[[3, 1], [0, 2]]),
    "dataset of its own order": lambda: DataLoader(Stream(), batch_size=5),
}


@pytest.mark.parametrize("kind", UNTOLD)
def test_whose_a_row_is_is_never_guessed(kind):
    with pytest.raises(ValueError, match=f"a {kind.partition(' of batches')[0]}, .*whose they are"):
        scoring.curvature(network(), UNTOLD[kind]())


def test_a_model_in_halves_is_measured_in_a_copy():
    model = network().bfloat16()
    scores = scoring.curvature(model, DataLoader(images(), batch_size=20))
    whole = scoring.curvature(network(), DataLoader(images(), batch_size=20))
    np.testing.assert_allclose(scores.gradient_norm, whole.gradient_norm, rtol=0.1)
    assert next(model.parameters()).dtype == torch.bfloat16


def test_equal_rows_outliers_and_subsets():
    rows = torch.tensor([[1, 2], [3, 4], [1, 2], [3, 4], [9, 9]])
    assert [group.tolist() for group in scoring.exact_duplicates(rows)] == [[0, 2], [1, 3]]
    assert [group.tolist() for group in scoring.exact_duplicates(["a", "b", "a"])] == [[0, 2]]
    cloud = np.random.default_rng(0).normal(size=(80, 8)) + 6
    cloud[7] *= -1
    assert scoring.outlier_scores(torch.tensor(cloud).half()).argmax() == 7
    chosen = scoring.coreset("random", {}, ["a"] * 30 + ["b"] * 10, fraction=0.2, excluded=[True] + [False] * 39)
    assert len(chosen.index) == 8 and (chosen.index >= 30).sum() == 2 and 0 not in chosen.index


@pytest.mark.parametrize("name", scoring.__all__)
def test_each_is_annotated_and_speaks_of_one_axis_order(name):
    function = getattr(scoring, name)
    assert function is getattr(functions, name) and function.__doc__
    signature = inspect.signature(function)
    assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())
    assert signature.return_annotation is not inspect.Parameter.empty
    assert not re.search(r"\(E, [NM]\)", function.__doc__)


def test_torch_is_imported_for_what_needs_it_alone():
    code = "import sys\nfrom lossprint.scoring import *\nassert 'torch' not in sys.modules and callable(curvature)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match=r"no attribute 'sld'.*cld"):
        scoring.sld  # noqa: B018
