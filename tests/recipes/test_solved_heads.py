"""RanPAC and streaming LDA learn a stream as scikit-learn learns all of it at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

import mlexpert
from mlexpert.blocks.reaching import reaching
from mlexpert.data.encode import encode_targets
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.networks.heads import head_of
from mlexpert.preparation import Roles, prepare
from mlexpert.recipes import get
from mlexpert.training.method import Batch, Task

DIGITS = load_digits()
ROWS = (np.round(DIGITS.images * (255 / 16)).astype(np.uint8)[:500], DIGITS.target[:500])
SMALL = {"continual-cls/ranpac": {"num_features": 150}, "continual-cls/slda": {"shrinkage": 0.01}}
both = pytest.mark.parametrize("name", SMALL)


def fit(name: str, folder: Path, **fields) -> Fitted:
    recipe = get(name, **{**SMALL[name], **fields})
    return recipe.fit(ROWS, run_dir=folder, progress=False)


def seen_by(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of all training rows, as the fitted head gets them, and their classes."""
    train = prepare(fitted.recipe, ROWS, Roles()).splits.train
    model = fitted.parts.network.model.eval()
    inputs = fitted.parts.network.encode(train).take(torch.arange(len(train)))
    features = reaching(head_of(model)[2], model, inputs)
    return features.double().numpy(), encode_targets(train.targets, fitted.schema).numpy()


def head(fitted: Fitted) -> torch.Tensor:
    return head_of(fitted.parts.network.model)[2].weight.detach()


@pytest.mark.parametrize("boundaries", [True, False])
def test_ranpac_is_the_ridge_solution_of_all_rows(boundaries: bool, tmp_path: Path) -> None:
    fields = {"num_features": 50, "penalty": 10.0, "boundaries": boundaries}
    fitted = fit("continual-cls/ranpac", tmp_path, **fields)
    features, targets = seen_by(fitted)
    whole = Ridge(alpha=10.0, fit_intercept=False).fit(features, np.eye(10)[targets])
    np.testing.assert_allclose(head(fitted), whole.coef_, atol=1e-4, rtol=0)
    assert fitted.parts.method.statistics.nbytes == 8 * (50 * 50 + 50 * 10 + 1)


def test_slda_is_the_discriminant_of_all_rows(tmp_path: Path) -> None:
    fitted = fit("continual-cls/slda", tmp_path, shrinkage=0.01)
    features, targets = seen_by(fitted)
    whole = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.01).fit(features, targets)
    np.testing.assert_allclose(head(fitted), whole.coef_, atol=1e-4, rtol=1e-4)
    bias = head_of(fitted.parts.network.model)[2].bias.detach()
    np.testing.assert_allclose(bias, whole.intercept_, atol=1e-4, rtol=1e-4)


@both
def test_the_order_of_tasks_does_not_matter(name: str, tmp_path: Path) -> None:
    """All else being equal: the features' standardisation is that of the first task's rows."""
    fitted = fit(name, tmp_path)
    method, model = fitted.parts.method, fitted.parts.network.model
    train = prepare(fitted.recipe, ROWS, Roles()).splits.train
    inputs = fitted.parts.network.encode(train).take(torch.arange(len(train)))
    targets = encode_targets(train.targets, fitted.schema)
    before = head(fitted).clone()
    for value in method.statistics.buffers():
        value.zero_()
    for number, label in enumerate((7, 3, 9, 0, 1, 8, 2, 6, 4, 5)):
        own = torch.nonzero(targets == label).flatten()
        batch = Batch(inputs[own], targets[own], own)
        task = Task(
            number, torch.bincount(targets[own], minlength=10), lambda one=batch: iter([one])
        )
        method.begin_task(model, task)
        method.end_task(model, task)
    torch.testing.assert_close(head(fitted), before, atol=1e-6, rtol=1e-5)


@both
def test_nothing_is_forgotten_and_a_saved_head_says_the_same(name: str, tmp_path: Path) -> None:
    fitted = fit(name, tmp_path / "run")
    matrix = fitted.accuracy_matrix()
    assert matrix[1, 0] > 0.9  # before a class was met it is never the answer
    assert np.nanmin(matrix[1:]) > 0.5 and fitted.evaluate()["average_accuracy"] > 0.85
    fitted.save(tmp_path / "model")
    loaded = mlexpert.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(ROWS[0]), fitted.predict_proba(ROWS[0]))


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="num_features=0"):
        get("continual-cls/ranpac", num_features=0)
    with pytest.raises(InputError, match=r"penalty=0.0"):
        get("continual-cls/ranpac", penalty=0.0)
    with pytest.raises(InputError, match=r"shrinkage=0.0"):
        get("continual-cls/slda", shrinkage=0.0)
    for fields in ({"flip": True}, {"shift": 2}, {"backbone": "mlp"}, {"depth": 8}):
        with pytest.raises(InputError, match=f"slda: {next(iter(fields))}="):
            get("continual-cls/slda", **fields)
    with pytest.raises(InputError, match="set pretrained=True"):
        fit("continual-cls/slda", tmp_path, backbone="resnet18")
