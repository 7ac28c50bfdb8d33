"""SMOTE: imbalanced-learn's rows where it can be asked, and what holds where it cannot."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC
from scipy.spatial.distance import cdist
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mlexpert.blocks.samplers import smote as smote_module
from mlexpert.blocks.samplers.smote import smote
from mlexpert.errors import InputError

COUNTS = (60, 20, 9)
TARGETS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))


def numbers(columns: int = 3) -> Tensor:
    """Numbers of very unequal scale, whose mean tells the class."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(TARGETS), columns, generator=generator, dtype=torch.float64)
    scale = 10.0 ** (torch.arange(columns) - 1)
    return (rows + TARGETS[:, None]) * scale + 5


def codes(columns: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, 4, (len(TARGETS), columns), generator=generator)
    return (drawn + (TARGETS[:, None] == 2)).double()


def theirs(sampler, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    made, targets = sampler.fit_resample(rows, TARGETS.numpy())
    return np.asarray(made, dtype=np.float64)[len(rows) :], targets[len(rows) :]


def test_numbers_are_those_of_imbalanced_learn_on_standardised_columns() -> None:
    rows = numbers()
    new, targets, _ = smote(rows, TARGETS, (60, 60, 60), k_neighbors=5, seed=3)
    scaler = StandardScaler()
    standardised = scaler.fit_transform(rows)
    expected, labels = theirs(SMOTE(k_neighbors=5, random_state=3), standardised)
    np.testing.assert_allclose(new, scaler.inverse_transform(expected), rtol=1e-10)
    np.testing.assert_array_equal(targets, labels)


@pytest.mark.parametrize(("k", "codes_each"), [(5, 2), (1, 6)])
def test_mixed_columns_are_those_of_its_smote_nc(k: int, codes_each: int) -> None:
    """Of two codes and five neighbours, or of one neighbour, no vote is tied."""
    drawn = codes() % codes_each
    rows = torch.cat([drawn[:, :1], numbers(), drawn[:, 1:]], dim=1)
    kinds = [0, 4]
    new, targets, _ = smote(rows, TARGETS, (60, 60, 30), categorical=kinds, k_neighbors=k, seed=3)
    scaler = StandardScaler()
    ready = rows.numpy().copy()
    ready[:, 1:4] = scaler.fit_transform(ready[:, 1:4])
    sampler = SMOTENC(kinds, sampling_strategy={1: 60, 2: 30}, k_neighbors=k, random_state=3)
    expected, labels = theirs(sampler, ready)
    expected[:, 1:4] = scaler.inverse_transform(expected[:, 1:4])
    np.testing.assert_allclose(new, expected, rtol=1e-10)
    np.testing.assert_array_equal(targets, labels)


def test_categories_alone_are_those_of_its_smote_n() -> None:
    rows = codes(4)
    new, targets, nearest = smote(rows, TARGETS, (60, 60, 60), categorical=range(4), seed=3)
    expected, labels = theirs(SMOTEN(random_state=3), rows.numpy())
    np.testing.assert_array_equal(new, expected)
    np.testing.assert_array_equal(targets, labels)
    distance = cdist(new, rows, "hamming")
    distance[targets.numpy()[:, None] != TARGETS.numpy()] = 2.0
    np.testing.assert_allclose(distance[range(len(new)), nearest], distance.min(axis=1))


def test_a_new_row_lies_between_a_row_of_its_class_and_one_of_its_neighbours() -> None:
    rows, k = numbers(2), 3
    new, targets, _ = smote(rows, TARGETS, (60, 40, 40), k_neighbors=k)
    ready = (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0)
    made = (new - rows.mean(dim=0)) / rows.std(dim=0, correction=0)
    for label in (1, 2):
        own = ready[label == TARGETS]
        ends = own[torch.cdist(own, own).argsort(dim=1)[:, 1 : k + 1]]  # (n, k, 2)
        start = own[:, None].expand_as(ends).reshape(-1, 2)
        along = ends.reshape(-1, 2) - start  # (S', 2)
        for row in made[targets == label]:
            u = ((row - start) * along).sum(dim=1) / along.square().sum(dim=1)
            off = (row - start - u[:, None] * along).norm(dim=1)
            assert ((off < 1e-9) & (u >= 0) & (u <= 1)).any()


def test_a_category_is_what_most_neighbours_have() -> None:
    # Rows of class 2 lie on a line, far apart; one in three has another code, so that most of any
    # two or four neighbours have the common one.
    place = torch.arange(len(TARGETS), dtype=torch.float64)
    code = torch.where((TARGETS == 2) & (place % 9 == 4), 3.0, 2.0)
    rows = torch.stack([place, code.double()], dim=1)
    new, targets, _ = smote(rows, TARGETS, (60, 20, 60), categorical=[1], k_neighbors=4)
    assert len(new) == 51 and (targets == 2).all()
    assert (new[:, 1] == 2).all()


def test_classes_that_have_enough_rows_get_none() -> None:
    new, targets, nearest = smote(numbers(), TARGETS, COUNTS)
    assert new.shape == (0, 3) and len(targets) == len(nearest) == 0
    _, targets, _ = smote(numbers(), TARGETS, (60, 30, 9))
    assert targets.tolist() == [1] * 10


def test_a_small_class_takes_the_neighbours_that_it_has() -> None:
    """imbalanced-learn refuses a class of n rows where k is n or more."""
    two = torch.tensor([*range(60), 60, 80])
    rows, targets = numbers()[two], TARGETS[two].clone()
    targets[-2:] = 1
    new, made, _ = smote(rows, targets, (60, 12), k_neighbors=5)
    assert made.tolist() == [1] * 10
    low, high = rows[-2:].min(dim=0).values, rows[-2:].max(dim=0).values
    assert ((new >= low - 1e-9) & (new <= high + 1e-9)).all()
    new, _, nearest = smote(rows[:-1], targets[:-1], (60, 4))
    torch.testing.assert_close(new, rows[-2].expand(3, -1))
    assert nearest.tolist() == [60] * 3


def test_a_gap_stays_a_gap_and_fills_none() -> None:
    rows = numbers().float()
    gap = torch.zeros_like(rows, dtype=torch.bool)
    gap[60::2, 1] = True  # half of the rare classes' rows
    gap[::4, 2] = True
    whole, given = rows.clone(), rows.masked_fill(gap, torch.nan)
    new, targets, nearest = smote(given, TARGETS, (60, 60, 60))
    assert torch.equal(new.isnan(), gap[nearest])
    assert torch.equal(TARGETS[nearest], targets)
    assert new.dtype == torch.float32
    share = new[:, 1].isnan().float().mean()
    assert 0.3 < share < 0.7  # were new rows complete, a gap would tell the frequent class
    assert torch.equal(whole, rows) and torch.equal(given.isnan(), gap)  # what came in is as it was
    empty = torch.cat([whole, torch.full((len(TARGETS), 1), torch.nan)], dim=1)
    new, _, _ = smote(empty, TARGETS, (60, 60, 60))
    assert new[:, 3].isnan().all() and new[:, :3].isfinite().all()


def test_numbers_of_any_size_come_back_as_they_were() -> None:
    rows = torch.stack([numbers()[:, 0] * 1e30, numbers()[:, 1] * 1e-30, TARGETS * 0 + 7.0], dim=1)
    new, targets, _ = smote(rows.float(), TARGETS, (60, 60, 60))
    for label in (1, 2):
        own, made = rows[label == TARGETS], new[targets == label].double()
        slack = own.abs().max(dim=0).values * 1e-6
        assert (made >= own.min(dim=0).values - slack).all()
        assert (made <= own.max(dim=0).values + slack).all()


def test_categories_that_are_tied_are_drawn_evenly() -> None:
    # Two rows of each of two codes around a fifth: of its four neighbours two have either.
    rows = torch.tensor([[0.0, 0], [0, 0], [0, 1], [0, 1], [0, 2]] + [[9.0, 9]] * 500)
    targets = torch.tensor([0] * 5 + [1] * 500)
    new, _, _ = smote(rows, targets, (500, 500), categorical=[1], k_neighbors=4)
    counts = new[:, 1].long().bincount(minlength=3)
    assert counts[2] == 0  # of no neighbour more often than the others
    assert 200 < counts[0] < 300


@pytest.mark.parametrize("most_marks", [256, 3])
def test_rows_are_found_where_hardly_two_have_the_same_category(
    most_marks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    own = np.stack([generator.normal(size=40), np.r_[np.arange(30), np.arange(10)]], axis=1)
    own = np.concatenate([own, generator.normal(size=(40, 2))], axis=1)
    kinds = np.array([False, True, False, False])
    size = np.median(own[:, ~kinds].std(axis=0))
    distance = cdist(own[:, ~kinds], own[:, ~kinds]) ** 2
    distance += size**2 * (own[:, 1] != own[:, 1, None])
    np.fill_diagonal(distance, np.inf)
    monkeypatch.setattr(smote_module, "MOST_MARKS", most_marks)
    monkeypatch.setattr(smote_module, "PAIRS", 100)  # some pieces, the last of them smaller
    found = smote_module._neighbors(own, kinds, 4)
    np.testing.assert_array_equal(found, distance.argsort(axis=1)[:, :4])


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    with pytest.raises(InputError, match=r"pip install 'mlexpert\[smote\]'"):
        smote(codes(4), TARGETS, (60, 60, 60), categorical=range(4))
    assert len(smote(numbers(), TARGETS, (60, 60, 60))[0]) == 91  # which needs none
