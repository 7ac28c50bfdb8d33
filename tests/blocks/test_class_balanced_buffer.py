"""The class-balanced memory against GDumb's algorithm, written as the paper has it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from mlexpert.blocks.replay.class_balanced_buffer import ClassBalancedBuffer
from mlexpert.errors import InputError


def insert(memory: ClassBalancedBuffer, targets: list[int], first: int = 0) -> None:
    rows = torch.arange(first, first + len(targets))
    labels = torch.tensor(targets)
    memory.insert(rows[:, None].double(), labels, labels * 0)


def sizes_by_the_paper(targets: list[int], capacity: int) -> Counter[int]:
    """Algorithm 1: only how many rows of each class are kept is the same in every run."""
    counts: Counter[int] = Counter()
    for label in targets:
        share = capacity / len(counts.keys() | {label})
        if label not in counts or counts[label] < share:
            if counts.total() >= capacity:
                counts[max(counts, key=counts.__getitem__)] -= 1
            counts[label] += 1
    return counts


@pytest.mark.parametrize("capacity", [7, 20, 60, 500])
@pytest.mark.parametrize("batch", [1, 9, 300])
def test_sizes_are_those_of_the_algorithm_however_rows_come(capacity: int, batch: int) -> None:
    torch.manual_seed(capacity)
    stream = torch.cat([torch.randint(0, 3, (150,)), torch.randint(2, 7, (150,))]).tolist()
    memory = ClassBalancedBuffer(capacity)
    for first in range(0, len(stream), batch):
        insert(memory, stream[first : first + batch], first)
    assert memory.counts == sizes_by_the_paper(stream, capacity)
    drawn = memory.draw(capacity)
    assert len(drawn) == len(memory) == min(capacity, sum(memory.counts.values()))
    assert Counter(drawn.targets.tolist()) == memory.counts
    assert torch.equal(torch.tensor(stream)[drawn.inputs[:, 0].long()], drawn.targets)
    assert len(set(drawn.inputs[:, 0].tolist())) == len(drawn)


def test_classes_one_after_another_end_with_equal_shares() -> None:
    memory = ClassBalancedBuffer(100)
    for label in range(10):
        insert(memory, [label] * 80)
    assert set(memory.counts.values()) == {10}
    insert(memory, [10])  # a class of one row keeps it
    assert memory.counts[10] == 1 and len(memory) == 100


def test_what_makes_room_is_chosen_at_random() -> None:
    torch.manual_seed(0)
    left = torch.zeros(8)
    for _ in range(800):
        memory = ClassBalancedBuffer(8)
        insert(memory, [0] * 8)
        insert(memory, [1] * 20, first=100)
        assert memory.counts == {0: 4, 1: 4}
        drawn = memory.draw(8)
        left[drawn.inputs[drawn.targets == 0, 0].long()] += 1
    assert chisquare(left).pvalue > 0.01


def test_more_classes_than_room_are_refused_and_nothing_is_changed() -> None:
    memory = ClassBalancedBuffer(3)
    insert(memory, [0, 1])
    with pytest.raises(InputError, match="room for 3 rows and 4 classes"):
        insert(memory, [2, 3])
    assert memory.counts == {0: 1, 1: 1}
    with pytest.raises(InputError, match="empty"):
        ClassBalancedBuffer(3).draw(1)
