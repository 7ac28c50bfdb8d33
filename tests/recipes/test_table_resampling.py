"""SMOTE and balanced bagging of tables: on training rows alone, and with honest probabilities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from imblearn.over_sampling import SMOTE
from torch import Tensor

from mlexpert.data.batches import TensorStore
from mlexpert.errors import InputError
from mlexpert.fitting.assembly import Assembled, assemble
from mlexpert.preparation import Prepared, Roles, prepare
from mlexpert.recipe import Recipe
from mlexpert.recipes import get
from mlexpert.training.method import Batch
from mlexpert.training.plan import Data
from tests.small_data import table, texts

NAMES = ("imbalanced-cls/smote", "imbalanced-cls/balanced-bagging")


def made_of(
    recipe: Recipe, data: pd.DataFrame, weights: str | None = None
) -> tuple[Prepared, Assembled]:
    prepared = prepare(recipe, data, Roles("bought", sample_weight=weights))
    torch.manual_seed(0)
    return prepared, assemble(recipe.settle(prepared.schema), prepared, progress=False)


def rows_in(data: Data) -> Tensor:
    assert isinstance(data.store, TensorStore)
    return data.store.rows


def numeric() -> pd.DataFrame:
    return table(300).drop(columns=["city", "income"]).assign(height=lambda t: t["age"] ** 2)


def test_smote_appends_imbalanced_learns_rows_to_the_training_rows_alone() -> None:
    prepared, made = made_of(get(NAMES[0], seed=3), numeric())
    counts = prepared.schema.class_counts
    added = max(counts) - min(counts)
    rows, natural = rows_in(made.train), rows_in(made.unsampled)
    assert len(made.validation.targets) == len(prepared.splits.validation)
    assert len(rows) == len(natural) + added
    assert torch.equal(rows[: len(natural)], natural)
    assert torch.bincount(made.train.targets).tolist() == [max(counts)] * 2
    x = natural.double().numpy()
    center, scale = x.mean(axis=0), x.std(axis=0)
    sampler = SMOTE(random_state=3)
    theirs, _ = sampler.fit_resample((x - center) / scale, made.unsampled.targets)
    expected = theirs[len(x) :] * scale + center
    np.testing.assert_allclose(rows[len(x) :], expected, rtol=1e-6)


def test_smote_takes_categories_gaps_and_weights() -> None:
    data = table(300).assign(w=np.linspace(0.5, 1.5, 300))
    prepared, made = made_of(get(NAMES[0]), data, "w")
    rows, natural = rows_in(made.train), rows_in(made.unsampled)
    new = rows[len(natural) :]
    names = [column.name for column in prepared.schema.columns]
    city, income = names.index("city"), names.index("income")
    assert set(new[:, city].tolist()) <= {2.0, 3.0}
    assert new[:, names.index("age")].isfinite().all()
    assert 0 < new[:, income].isnan().float().mean() < 0.3
    assert made.train.weights is not None and made.unsampled.weights is not None
    assert torch.equal(made.train.weights[: len(natural)], made.unsampled.weights)
    rare = made.unsampled.weights[made.unsampled.targets == 1]
    assert set(made.train.weights[len(natural) :].tolist()) <= set(rare.tolist())


def test_a_ratio_below_one_adds_fewer_rows() -> None:
    prepared, made = made_of(get(NAMES[0], ratio=0.5), numeric())
    frequent = max(prepared.schema.class_counts)
    assert torch.bincount(made.train.targets).tolist() == [frequent, round(frequent / 2)]
    _, same = made_of(get(NAMES[0], ratio=0.01), numeric())
    assert torch.equal(rows_in(same.train), rows_in(same.unsampled))


def test_a_class_of_one_training_row_is_repeated_with_a_warning() -> None:
    prepared, made = made_of(get(NAMES[0]), numeric())
    counts = prepared.schema.class_counts
    natural = made.unsampled
    few = (natural.targets == 0) | (torch.arange(len(natural.targets)) == natural.targets.argmax())
    rows = Data(TensorStore(rows_in(natural)[few]), natural.targets[few])
    assert made.parts.resample is not None
    with pytest.warns(UserWarning, match="class 'yes' has a single training row"):
        found = made.parts.resample(rows, replace(prepared.schema, class_counts=(counts[0], 1)), 0)
    rare = rows_in(found)[found.targets == 1]
    assert len(rare) == counts[0]
    torch.testing.assert_close(rare, rare[:1].expand_as(rare), rtol=1e-6, atol=0)


def bagged() -> tuple[Any, Data, Recipe]:
    recipe = get(NAMES[1], members=3)
    _, made = made_of(recipe, table(120))
    return made.parts, made.train, recipe


def test_the_bags_of_all_members_are_balanced() -> None:
    parts, train, _ = bagged()
    shares = parts.method.shares
    of_class = [shares[train.targets == label] for label in (0, 1)]
    assert (of_class[1] > 0).all()  # every row of the rarest class is in every bag
    for member in range(3):
        inside = [int((part[:, member] > 0).sum()) for part in of_class]
        assert inside[0] == inside[1] == len(of_class[1])
    assert len(torch.unique(shares)) == 2  # a row is in a bag or not


def test_the_loss_is_the_mean_of_each_members_loss_on_its_own_bag() -> None:
    parts, train, _ = bagged()
    method, model = parts.method, parts.network.model.train()
    model.dropout = 0.0
    visited = method.shares.any(dim=1).nonzero().flatten()
    batch = Batch(train.store.take(visited), train.targets[visited], visited)
    loss = method.loss(model, batch)
    one_by_one = []
    for member in range(3):
        bag = (method.shares[:, member] > 0).nonzero().flatten()
        logits = model(train.store.take(bag))[:, member]
        one_by_one.append(F.cross_entropy(logits, train.targets[bag]))
    torch.testing.assert_close(loss.total / loss.count, torch.stack(one_by_one).mean())


def test_over_the_epochs_the_batches_pull_as_the_bags_do() -> None:
    """Whatever the batch size, and though frequent rows in no bag are never visited."""
    parts, train, _ = bagged()
    method, model = parts.method, parts.network.model.train()
    model.dropout = 0.0
    bias = model.heads.bias

    def pull(index: Tensor) -> Tensor:
        batch = Batch(train.store.take(index), train.targets[index], index)
        loss = method.loss(model, batch)
        return torch.autograd.grad(loss.total / loss.count, bias)[0]

    wanted = pull(method.shares.any(dim=1).nonzero().flatten())
    pulls = []
    for epoch in range(60):
        order = parts.order(train.targets, 0.0, torch.Generator().manual_seed(epoch))
        assert (method.shares[order].sum(dim=1) > 0).all()
        pulls += [pull(rows) for rows in order.split(16) if len(rows) == 16]
    stacked = torch.stack(pulls)
    error = stacked.std(dim=0) / len(pulls) ** 0.5
    assert ((stacked.mean(dim=0) - wanted).abs() < 5 * error).all()


def test_a_rows_weight_counts_in_every_bag() -> None:
    parts, train, _ = bagged()
    method, model = parts.method, parts.network.model.eval()
    model.train()
    model.dropout = 0.0
    index = torch.arange(40)
    weights = torch.linspace(0.0, 2.0, 40)
    batch = Batch(train.store.take(index), train.targets[index], index, weights)
    found = method.loss(model, batch)
    one_by_one = [
        method.loss(model, batch.map(lambda column, i=i: column[i : i + 1])).total
        for i in range(40)
    ]
    torch.testing.assert_close(found.total, torch.stack(one_by_one).sum())
    assert found.count == weights.sum()


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_another_split_are_never_resampled(name: str) -> None:
    prepared, made = made_of(get(name), table(300))
    assert made.parts.resample is not None
    with pytest.raises(InputError, match=r"Only training rows are resampled, .* these rows"):
        made.parts.resample(made.validation, prepared.schema, 0)


@pytest.mark.parametrize("name", NAMES)
def test_validation_and_test_keep_their_rows_and_the_natural_prior(
    name: str, tmp_path: Path
) -> None:
    data = table(600, rare=0.15)
    fitted = get(name, epochs=6, precision="fp32").fit(
        data, target="bought", run_dir=tmp_path, progress=False
    )
    parts = fitted.facts["data"]["parts"]
    assert sum(part["rows"] for part in parts.values()) == 600
    stored = fitted._stored("validation")
    assert len(stored["targets"]) == parts["validation"]["rows"]
    rare = (data["bought"] == "yes").mean()
    said = fitted.predict_proba(data.drop(columns="bought"))[:, 1].mean()
    assert said == pytest.approx(rare, abs=0.05)
    # What decides is the balanced softmax, so many more rows are called rare than are.
    assert (fitted.predict(data.drop(columns="bought")) == "yes").mean() > rare + 0.05


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (NAMES[0], {"k_neighbors": 0}, "k_neighbors=0; it has to be at least 1"),
        (NAMES[0], {"ratio": 0.0}, "ratio=0.0; it has to be above 0"),
        (NAMES[0], {"ratio": 1.5}, "ratio=1.5; .* at most 1"),
        (NAMES[1], {"members": 0}, "members=0"),
        (NAMES[1], {"backbone": "resnet18"}, "backbone='resnet18'; .*a table has one network"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused(
    name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        get(name, **fields)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_for_tables(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes tabular inputs, and these rows are text"):
        get(name).fit(texts(), target="label", run_dir=tmp_path, progress=False)
