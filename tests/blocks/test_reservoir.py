"""The reservoir against algorithm R, written row by row, and against chance."""

from __future__ import annotations

import random

import pytest
import torch
from scipy.stats import chi2, chisquare
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mlexpert.blocks.replay.reservoir import Reservoir
from mlexpert.errors import InputError


def insert(memory: Reservoir, first: int, count: int) -> None:
    """Insert rows that say in each column which they are."""
    rows = torch.arange(first, first + count)
    memory.insert(rows[:, None].double(), rows, rows // 10)


def algorithm_r(count: int, capacity: int, chance: random.Random) -> list[int]:
    """Vitter's, one row after the other."""
    slots: list[int] = []
    for row in range(count):
        if row < capacity:
            slots.append(row)
        elif (place := chance.randint(0, row)) < capacity:
            slots[place] = row
    return slots


def test_every_row_is_as_likely_to_be_kept_wherever_it_came() -> None:
    """Counts of 5 of 40 rows in 2000 runs, against equal ones and against those of algorithm R."""
    runs, capacity, cuts = 2000, 5, (3, 7, 12, 18)
    torch.manual_seed(0)
    ours, theirs = torch.zeros(40), torch.zeros(40)
    slots_of_row = torch.zeros(40, capacity)
    chance = random.Random(0)
    for _ in range(runs):
        memory, first = Reservoir(capacity), 0
        for count in cuts:
            insert(memory, first, count)
            first += count
        kept = memory.rows.targets
        ours[kept] += 1
        slots_of_row[kept, torch.arange(capacity)] += 1
        theirs[algorithm_r(40, capacity, chance)] += 1
    # Of a sample of n of N rows without repetition the counts vary by (N - n) / (N - 1) less than
    # those of independent rows.
    less = (40 - capacity) / 39
    assert ours.sum() == theirs.sum() == runs * capacity
    for counts in (ours, theirs):
        assert chi2.sf(chisquare(counts).statistic / less, df=39) > 0.01
    two_samples = ((ours - theirs).square() / (ours + theirs)).sum() / less
    assert chi2.sf(float(two_samples), df=39) > 0.01
    # In the slots that it was given at first a row is more often than in others: as in algorithm R.
    assert (slots_of_row[:5].diagonal() == slots_of_row[:5].max(dim=1).values).all()


def test_one_batch_and_row_by_row_leave_the_same_distribution_of_slots() -> None:
    """Which row is in which slot, of 3 slots and 6 rows: all at once, alone, and algorithm R."""
    torch.manual_seed(1)
    chance, tables = random.Random(1), torch.zeros(3, 3, 6)
    for _ in range(900):
        at_once, alone = Reservoir(3), Reservoir(3)
        insert(at_once, 0, 6)
        for row in range(6):
            insert(alone, row, 1)
        for table, kept in zip(
            tables,
            (at_once.rows.targets, alone.rows.targets, algorithm_r(6, 3, chance)),
            strict=True,
        ):
            table[torch.arange(3), torch.as_tensor(kept)] += 1
    assert not torch.equal(tables[0], tables[1])
    # By hand: row 0 stays in slot 0 unless rows 3, 4, 5 hit it: 3/4 * 4/5 * 5/6.
    expected = torch.tensor(
        [[1 / 2 if row == slot else 0 for row in range(6)] for slot in range(3)]
    )
    expected[:, 3:] = 1 / 6
    for table in tables:
        there = expected > 0
        assert (table[~there] == 0).all()
        assert chisquare(table[there], expected[there] * 900).pvalue > 0.01


def test_all_columns_of_a_row_stay_together() -> None:
    torch.manual_seed(0)
    memory = Reservoir(16)
    for first in range(0, 300, 30):
        rows = torch.arange(first, first + 30)
        memory.insert(rows[:, None].float(), rows, rows // 7, rows[:, None] * 2.0, rows + 0.5)
    assert (len(memory), memory.num_seen) == (16, 300)
    drawn = memory.draw(9)
    assert torch.equal(drawn.inputs[:, 0].long(), drawn.targets)
    assert torch.equal(drawn.tasks, drawn.targets // 7)
    assert drawn.weights is not None and torch.equal(drawn.weights, drawn.targets + 0.5)
    assert torch.equal(memory.logits[drawn.slots, 0], drawn.targets * 2.0)


def test_a_draw_has_no_row_twice_and_is_uniform() -> None:
    torch.manual_seed(0)
    memory = Reservoir(50)
    insert(memory, 0, 12)
    counts = torch.zeros(12)
    for _ in range(2000):
        slots = memory.draw(4).slots
        assert len(set(slots.tolist())) == 4
        counts[slots] += 1
    assert chi2.sf(chisquare(counts).statistic / ((12 - 4) / 11), df=11) > 0.01
    assert sorted(memory.draw(13).targets.tolist()) == list(range(12))  # all that there are


def test_two_draws_are_independent() -> None:
    """Of two draws of 2 of 6 rows 4/6 have no row of the first, in expectation 2/3 share."""
    torch.manual_seed(0)
    memory = Reservoir(6)
    insert(memory, 0, 6)
    shared = torch.zeros(3)
    for _ in range(900):
        one, two = (set(memory.draw(2).slots.tolist()) for _ in range(2))
        shared[len(one & two)] += 1
    assert chisquare(shared, 900 * torch.tensor([6 / 15, 8 / 15, 1 / 15])).pvalue > 0.01


class Made(TorchDispatchMode):
    """Counts the numbers that operations make, but for what they write into the slots."""

    def __init__(self, memory: Reservoir) -> None:
        super().__init__()
        self.slots = {buffer.data_ptr() for buffer in memory.rows.buffers()}
        self.numbers = self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.calls += 1
        if isinstance(made, Tensor) and made.data_ptr() not in self.slots:
            self.numbers += made.numel()
        return made


def test_the_work_of_an_insert_does_not_grow_with_memory_or_stream() -> None:
    """Ten rows all of which go in, at 1000 and at 100 000 slots; and a million rows later."""
    work = []
    for capacity in (1000, 100_000):
        memory = Reservoir(capacity)
        insert(memory, 0, 10)
        with Made(memory) as made:
            insert(memory, 10, 10)
        work.append((made.numbers, made.calls))
        memory.num_seen = 10**9
        with Made(memory) as made:
            insert(memory, 10**9, 10)
        assert made.numbers <= work[0][0] and made.calls <= work[0][1]
    assert work[0] == work[1] and work[0][0] < 300


def test_an_empty_memory_says_so() -> None:
    with pytest.raises(InputError, match="empty"):
        Reservoir(3).draw(1)
    with pytest.raises(InputError, match="no logits"):
        Reservoir(3).logits  # noqa: B018
    with pytest.raises(InputError, match="capacity=0"):
        Reservoir(0)
