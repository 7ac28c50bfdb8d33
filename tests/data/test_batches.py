"""Batches: held in memory or loaded, they are the same rows in the same order."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from mlexpert.data.batches import (
    LazyImageStore,
    RaggedStore,
    TensorStore,
    batches,
    cut,
    epoch_order,
)
from mlexpert.data.encode import encode_images
from mlexpert.data.examples import Examples
from mlexpert.data.images import Images
from mlexpert.data.memory import available_bytes
from mlexpert.errors import InputError
from mlexpert.networks import images

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (50, 9, 7, 3), dtype=np.uint8)
TARGETS = torch.arange(50) % 3


def test_an_epochs_order_is_a_permutation_of_its_own() -> None:
    first, second = (epoch_order(1000, seed=4, epoch=epoch) for epoch in (0, 1))
    assert torch.equal(first.sort().values, torch.arange(1000))
    assert not torch.equal(first, second)
    assert torch.equal(first, epoch_order(1000, seed=4, epoch=0))
    assert not torch.equal(first, epoch_order(1000, seed=5, epoch=0))


@pytest.mark.parametrize(
    ("rows", "sizes"), [(32, [16, 16]), (40, [16, 16, 8]), (33, [16, 17]), (1, [1]), (16, [16])]
)
def test_a_last_batch_of_one_row_joins_the_one_before(rows: int, sizes: list[int]) -> None:
    cuts = cut(torch.arange(rows), 16)
    assert [len(index) for index in cuts] == sizes
    assert torch.equal(torch.cat(cuts), torch.arange(rows))


@pytest.mark.parametrize("workers", [0, 1, 3, 40, None])
def test_loaded_images_equal_those_in_memory_in_the_same_order(workers: int) -> None:
    images = Images.from_array(PIXELS)
    held = TensorStore(encode_images(images, size=(8, 8), channels=3))
    lazy = LazyImageStore(images, (8, 8), 3)
    cuts = cut(epoch_order(50, seed=0, epoch=0), 16)
    pairs = zip(
        batches(held, TARGETS, cuts), batches(lazy, TARGETS, cuts, workers=workers), strict=True
    )
    for here, there in pairs:
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_loading_leaves_the_global_generator_alone() -> None:
    lazy = LazyImageStore(Images.from_array(PIXELS), (9, 7), 3)
    before = torch.random.get_rng_state()
    list(batches(lazy, TARGETS, cut(torch.arange(50), 16)))
    assert torch.equal(torch.random.get_rng_state(), before)


class Counted(LazyImageStore):
    """Remembers what was taken, and fails at a row that cannot be decoded."""

    def __init__(self, bad: int = -1) -> None:
        super().__init__(Images.from_array(PIXELS), (9, 7), 3)
        self.bad, self.taken = bad, []

    def take(self, index: torch.Tensor) -> torch.Tensor:
        self.taken += index.tolist()
        if self.bad in index:
            raise InputError(f"image in row {self.bad} cannot be decoded")
        return super().take(index)


def test_threads_load_no_more_than_two_batches_ahead_and_stop_when_training_does() -> None:
    store = Counted()
    cuts = cut(torch.arange(50), 10)
    rows = batches(store, TARGETS, cuts, workers=2)
    next(rows)
    rows.close()  # as an exception in the training loop does, Ctrl-C among them
    assert set(store.taken) <= set(range(30))
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("decode") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_image_that_cannot_be_decoded_is_named_in_its_turn() -> None:
    seen = []
    with pytest.raises(InputError, match="row 25"):
        for _, _, index in batches(Counted(bad=25), TARGETS, cut(torch.arange(50), 10), workers=2):
            seen += index.tolist()
    assert seen == list(range(20))


def test_images_that_do_not_fit_are_loaded_when_due(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = Examples("image", Images.from_array(PIXELS))
    store = images.image_store(examples, size=(9, 7), channels=3)
    assert store.in_memory
    monkeypatch.setattr(images, "available_bytes", lambda: PIXELS.nbytes)
    lazy = images.image_store(examples, size=(9, 7), channels=3)
    assert not lazy.in_memory
    index = torch.tensor([3, 1])
    assert torch.equal(store.take(index), lazy.take(index))


def test_bytes_become_floats_in_the_unit_interval() -> None:
    rows = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    assert torch.equal(TensorStore(rows).take(torch.tensor([0])), torch.tensor([[0.0, 0.2, 1.0]]))


def test_ragged_rows_are_padded_to_the_longest_of_the_batch() -> None:
    store = RaggedStore(torch.tensor([5, 6, 7, 8, 9, 3]), torch.tensor([0, 2, 2, 5, 6]))
    assert store.take(torch.tensor([2, 0])).tolist() == [[7, 8, 9], [5, 6, 0]]
    assert store.take(torch.tensor([3])).tolist() == [[3]]
    assert store.take(torch.tensor([1])).tolist() == [[0]]
    assert len(store) == 4


@pytest.mark.parametrize(
    ("limit", "used"),
    [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")],
)
def test_a_containers_limit_counts(tmp_path, limit: str, used: str) -> None:
    unlimited = available_bytes(tmp_path)
    (tmp_path / limit).write_text("5000\n")
    (tmp_path / used).write_text("1000\n")
    assert available_bytes(tmp_path) == 4000 < unlimited
    (tmp_path / limit).write_text("max\n")
    assert available_bytes(tmp_path) > 4000
