"""Slots of a memory: what comes out is what went in, to the last bit, also after a checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mlexpert.blocks.layers.task_classes import MASKED
from mlexpert.blocks.replay.class_balanced_buffer import ClassBalancedBuffer
from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.blocks.replay.stored_rows import StoredRows
from mlexpert.errors import InputError
from mlexpert.training import checkpoint

LEVELS = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)


def columns(inputs: Tensor, **more: Tensor) -> dict[str, Tensor | None]:
    targets = torch.arange(len(inputs))
    return {"inputs": inputs, "targets": targets, "tasks": targets * 0 + 3, **more}


def kept(inputs: Tensor, capacity: int = 4) -> StoredRows:
    rows = StoredRows(capacity)
    rows.write(torch.arange(len(inputs)), columns(inputs))
    return rows


@pytest.mark.parametrize("make", [lambda x: x / 255, lambda x: x * (1 / 255)])
def test_all_256_levels_of_a_pixel_come_back_to_the_last_bit(make) -> None:
    images = make(LEVELS.float())
    rows = kept(images)
    assert rows.inputs is not None and rows.inputs.shape == images.shape
    assert torch.equal(rows.read(torch.arange(4)).inputs, images)
    is_stores = torch.equal(images, LEVELS.float().div(255))
    assert (rows.inputs.dtype == torch.uint8) == is_stores


@pytest.mark.parametrize(
    "inputs",
    [
        torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)),
        LEVELS.double() / 255,
        torch.tensor([[0.0, 1.0], [torch.nan, -torch.inf]]),
        torch.zeros(4, 5),  # columns of a table are no pixels, though they are 0 and 1
        torch.randn(3, 2, dtype=torch.float16, generator=torch.Generator().manual_seed(0)),
    ],
)
def test_other_numbers_are_kept_as_they_are(inputs: Tensor) -> None:
    rows = kept(inputs)
    there = rows.read(torch.arange(len(inputs))).inputs
    assert rows.inputs is not None and rows.inputs.dtype == inputs.dtype == there.dtype
    assert torch.equal(there.nan_to_num(7), inputs.nan_to_num(7))


def test_bytes_become_floats_once_a_pixel_does_not_fit() -> None:
    images = LEVELS.float() / 255
    rows = kept(images)
    other = images.clone()
    other[0, 0, 3, 3] += 1e-6
    rows.write(torch.tensor([1]), {**columns(images[:1]), "inputs": other[:1]})
    expected = torch.stack([images[0], other[0], images[2], images[3]])
    assert torch.equal(rows.read(torch.arange(4)).inputs, expected)
    rows.write(torch.tensor([0]), columns(images[3:]))
    assert torch.equal(rows.read(torch.tensor([0, 1])).inputs, torch.stack([images[3], other[0]]))


def test_texts_are_as_wide_as_the_longest_and_come_out_as_long_as_those_drawn() -> None:
    rows = StoredRows(4)
    rows.write(torch.tensor([0, 2]), columns(torch.tensor([[5, 6], [7, 0]])))
    rows.write(torch.tensor([1]), columns(torch.tensor([[1, 2, 3, 40000]])))
    rows.write(torch.tensor([3]), columns(torch.tensor([[9, 8, 7]])))
    assert rows.inputs is not None and rows.inputs.dtype == torch.int32
    assert rows.inputs.tolist() == [[5, 6, 0, 0], [1, 2, 3, 40000], [7, 0, 0, 0], [9, 8, 7, 0]]
    drawn = rows.read(torch.tensor([2, 0]))
    assert drawn.inputs.dtype == torch.int64 and drawn.inputs.tolist() == [[7, 0], [5, 6]]
    assert rows.read(torch.tensor([2])).inputs.tolist() == [[7]]
    assert rows.read(torch.tensor([3, 0])).inputs.tolist() == [[9, 8, 7], [5, 6, 0]]


def test_logits_of_a_model_that_grows_are_masked_where_it_had_none() -> None:
    rows = StoredRows(3)
    rows.write(torch.tensor([0]), columns(torch.zeros(1, 2), logits=torch.ones(1, 4, 2)))
    wide = torch.full((1, 4, 3), 2.0, requires_grad=True)
    rows.write(torch.tensor([1]), columns(torch.zeros(1, 2), logits=wide))
    assert rows.logits is not None and not rows.logits.requires_grad
    assert rows.logits[0, 0].tolist() == [1.0, 1.0, MASKED]
    assert rows.logits[1, 3].tolist() == [2.0, 2.0, 2.0]


def test_bytes_are_counted() -> None:
    rows = StoredRows(10)
    assert rows.nbytes == 0
    given = columns(LEVELS.float() / 255, logits=torch.zeros(4, 7), weights=torch.ones(4))
    rows.write(torch.arange(4), given)
    assert rows.nbytes == 10 * (64 + 8 + 8 + 7 * 4 + 4)
    assert rows.read(torch.tensor([1])).weights == torch.ones(1)


def test_rows_without_what_others_came_with_are_refused() -> None:
    rows = kept(torch.zeros(2, 3))
    with pytest.raises(InputError, match=r"weights.*keeps inputs, targets, tasks"):
        rows.write(torch.tensor([0]), columns(torch.zeros(1, 3), weights=torch.ones(1)))
    with pytest.raises(InputError, match="capacity=0"):
        StoredRows(0)


def filled(memory: Reservoir | ClassBalancedBuffer, count: int = 40) -> nn.Module:
    torch.manual_seed(1)
    for number in range(3):
        images = torch.randint(0, 256, (count, 1, 2, 2)) / 255
        targets = torch.randint(0, 4, (count,)) + number
        memory.insert(images, targets, targets * 0 + number, torch.randn(count, 3))
    return memory


@pytest.mark.parametrize("kind", [Reservoir, ClassBalancedBuffer])
@pytest.mark.parametrize("into", ["empty", "filled"])
def test_a_saved_memory_goes_on_as_if_it_had_not_been_saved(kind, into: str) -> None:
    one = filled(kind(20))
    other = kind(20) if into == "empty" else filled(kind(20), 13)
    state = copy.deepcopy(one.state_dict())
    other.load_state_dict(state)
    assert len(other) == len(one) == 20 and other.nbytes == one.nbytes
    for memory in (one, other):
        filled(memory)
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]) if isinstance(value, Tensor) else True
    extra = [name for name in ours if name.endswith("_extra_state")]
    assert len(extra) == 1 and ours[extra[0]] == theirs[extra[0]]
    empty = kind(20)
    one.load_state_dict(empty.state_dict())
    assert len(one) == one.nbytes == 0
    with pytest.raises(InputError, match="saved memory has 20 slots and this one 30"):
        kind(30).load_state_dict(state)


@pytest.mark.parametrize("kind", [Reservoir, ClassBalancedBuffer])
def test_a_checkpoint_holds_a_memory_that_is_made_in_training(kind, tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    one, other = nn.ModuleDict({"memory": filled(kind(20))}), nn.ModuleDict({"memory": kind(20)})
    tensors, rest = checkpoint.pack(model, one, optimizer, {})
    checkpoint.write(tmp_path, 1, tensors, {"rest": rest})
    found = checkpoint.read_newest(tmp_path)
    assert found is not None
    checkpoint.unpack(found[0], found[1]["rest"], model, other, optimizer)
    draws = []
    for memory in (one["memory"], other["memory"]):
        torch.manual_seed(3)
        filled(memory, 7)
        draws.append(memory.draw(9))
    assert torch.equal(draws[0].slots, draws[1].slots)
    assert torch.equal(draws[0].inputs, draws[1].inputs)
    assert torch.equal(draws[0].targets, draws[1].targets)
    assert torch.equal(draws[0].tasks, draws[1].tasks)
