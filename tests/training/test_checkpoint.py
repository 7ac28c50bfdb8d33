"""Checkpoints are whole or absent, and a damaged one is recognised."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mlexpert.errors import RunError
from mlexpert.training import checkpoint


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint.write(tmp_path, step, {"a": torch.tensor([step])}, {"note": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000010", "step-000000015"]
    tensors, state = checkpoint.read_newest(tmp_path)
    assert (tensors["a"].item(), state["note"], state["step"]) == (15, 15, 15)


@pytest.mark.parametrize("file", [checkpoint.TENSORS, checkpoint.STATE])
@pytest.mark.parametrize("damage", ["altered", "torn", "missing"])
def test_a_damaged_one_is_passed_over_with_a_warning(
    tmp_path: Path, file: str, damage: str
) -> None:
    for step in (1, 2):
        checkpoint.write(tmp_path, step, {"a": torch.arange(100)}, {"note": step})
    victim = tmp_path / "step-000000002" / file
    whole = bytearray(victim.read_bytes())
    if damage == "altered":
        whole[len(whole) // 2] ^= 1
        victim.write_bytes(whole)
    elif damage == "torn":
        victim.write_bytes(whole[: len(whole) // 2])
    else:
        victim.unlink()
    with pytest.warns(UserWarning, match="step-000000002 is damaged"):
        _, state = checkpoint.read_newest(tmp_path)
    assert state["note"] == 1


def test_damaged_ones_do_not_push_out_what_is_written_after_them(tmp_path: Path) -> None:
    for step in (90, 100):
        checkpoint.write(tmp_path, step, {"a": torch.ones(1)}, {})
        (tmp_path / f"step-{step:09d}" / checkpoint.STATE).write_text("torn")
    with pytest.warns(UserWarning, match="damaged"):
        assert checkpoint.read_newest(tmp_path) is None
    for step in (10, 20, 30):
        assert checkpoint.write(tmp_path, step, {"a": torch.ones(1)}, {}).is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000020", "step-000000030"]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.read_newest(tmp_path) is None


def test_a_full_disk_leaves_the_earlier_one_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.write(tmp_path, 1, {"a": torch.ones(3)}, {})

    def full(path: Path, payload: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_flush", full)
    with pytest.raises(RunError, match="No space left on device.*intact"):
        checkpoint.write(tmp_path, 2, {"a": torch.zeros(3)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    tensors, _ = checkpoint.read_newest(tmp_path)
    assert torch.equal(tensors["a"], torch.ones(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95)),
    ],
)
def test_pack_and_unpack_go_on_as_if_nothing_had_happened(make, tmp_path: Path) -> None:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()

    model, method = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), nn.BatchNorm1d(2)
    optimizer = make(model.parameters())
    step(model, optimizer)
    tensors, rest = checkpoint.pack(model, method, optimizer, {"kept": torch.tensor(5.0)})
    checkpoint.write(tmp_path, 1, tensors, {})
    step(model, optimizer)
    tensors, _ = checkpoint.read_newest(tmp_path)
    expected = [value.clone() for value in model.state_dict().values()]

    other = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    other_optimizer = make(other.parameters())
    extra = checkpoint.unpack(tensors, rest, other, method, other_optimizer)
    step(other, other_optimizer)
    assert extra["kept"].item() == 5.0
    for ours, theirs in zip(other.state_dict().values(), expected, strict=True):
        assert torch.equal(ours, theirs)
