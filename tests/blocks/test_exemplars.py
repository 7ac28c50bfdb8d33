"""A memory of exemplars: shares, what makes room, and what comes back out of a state."""

from __future__ import annotations

import pytest
import torch

from mlexpert.blocks.replay.exemplars import Exemplars
from mlexpert.blocks.replay.herding import herding
from mlexpert.errors import InputError


def offer(memory: Exemplars, label: int, task: int, count: int) -> None:
    """Offer rows whose value is 100 times their class and their rank."""
    slots = torch.tensor(memory.reserve({(label, task): count})[label, task])
    ranks = torch.arange(len(slots))
    memory.write(slots, (100.0 * label + ranks)[:, None], torch.full_like(ranks, label), task)


def values(memory: Exemplars, size: int = 99) -> list[float]:
    return sorted(memory.draw(size).inputs.flatten().tolist())


def test_groups_shrink_from_their_least_important_rows() -> None:
    memory = Exemplars(7)
    offer(memory, 0, 0, 50)
    assert values(memory) == [0, 1, 2, 3, 4, 5, 6]
    offer(memory, 1, 1, 50)
    assert values(memory) == [0, 1, 2, 100, 101, 102]
    offer(memory, 2, 1, 1)
    assert memory.counts == {(0, 0): 2, (1, 1): 2, (2, 1): 1}
    assert values(memory) == [0, 1, 100, 101, 200]
    drawn = memory.draw(99)
    assert torch.equal(drawn.targets, drawn.inputs.flatten().long() // 100)
    assert torch.equal(drawn.tasks, (drawn.targets > 0).long())
    assert len(memory) == 5 and len(memory.draw(3)) == 3


def test_a_class_that_comes_again_is_a_group_of_its_own() -> None:
    memory = Exemplars(4)
    offer(memory, 0, 0, 9)
    offer(memory, 0, 1, 9)
    assert memory.counts == {(0, 0): 2, (0, 1): 2}


def test_rows_are_chosen_by_herding_in_its_order() -> None:
    torch.manual_seed(0)
    memory, features, targets = Exemplars(6), torch.randn(40, 5), torch.arange(40) % 2
    slots = memory.choose(features, targets, 3)
    memory.write(slots, features, targets, 3)
    for label in (0, 1):
        own = features[targets == label]
        order = herding(own, 3)
        assert torch.equal(memory.rows.read(torch.arange(3) + 3 * label).inputs, own[order])
    kept = features[slots >= 0]
    memory.choose(features[:9], torch.full((9,), 2), 4)  # all lose their last
    left = torch.cat([piece.inputs for piece in memory.pieces(99)])[:4]
    assert len(kept) == 6 and len(left) == 4
    expected = [
        features[targets == label][herding(features[targets == label], 2)] for label in (0, 1)
    ]
    assert torch.equal(left, torch.cat(expected))


def test_pieces_are_all_rows_once() -> None:
    memory = Exemplars(10)
    offer(memory, 0, 0, 10)
    pieces = list(memory.pieces(4))
    assert [len(piece) for piece in pieces] == [4, 4, 2]
    assert torch.cat([piece.inputs for piece in pieces]).flatten().tolist() == list(range(10))


def test_a_state_brings_everything_back() -> None:
    memory, other = Exemplars(6), Exemplars(6)
    offer(memory, 0, 0, 9)
    offer(memory, 1, 1, 9)
    other.load_state_dict(memory.state_dict())
    assert other.counts == memory.counts and values(other) == values(memory)
    for one in (memory, other):
        offer(one, 2, 2, 9)
    assert values(other) == values(memory) and other.nbytes == memory.nbytes > 0


def test_a_memory_smaller_than_the_classes_is_refused() -> None:
    memory = Exemplars(2)
    offer(memory, 0, 0, 9)
    with pytest.raises(InputError, match="none for each of 3 classes"):
        memory.reserve({(1, 1): 9, (2, 1): 9})
    assert memory.counts == {(0, 0): 2}
    with pytest.raises(InputError, match="no exemplars yet"):
        Exemplars(2).draw(1)
