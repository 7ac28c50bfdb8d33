"""Low-rank updates against the product that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlexpert.blocks.layers.low_rank import add_low_rank
from mlexpert.errors import InputError

pytest.importorskip("peft")


def network() -> nn.ModuleDict:
    torch.manual_seed(0)
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.GELU()) for _ in range(2))
    return nn.ModuleDict({"stem": nn.Linear(4, 6), "blocks": blocks, "head": nn.Linear(6, 3)})


@pytest.mark.parametrize("rank", [1, 4])
def test_an_update_is_twice_b_a_whatever_the_rank(rank: int) -> None:
    model, inputs = network(), torch.rand(5, 6)
    before = model["blocks"][0][0](inputs)
    add_low_rank(model, rank)
    layer = model["blocks"][0][0]
    assert torch.equal(layer(inputs), before)  # B starts at zero
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    nn.init.normal_(up)
    assert down.shape == (rank, 6) and up.shape == (6, rank)
    torch.testing.assert_close(layer(inputs), before + 2 * inputs @ (up @ down).T)


def test_what_is_trained_is_the_updates_and_what_stands_behind_the_blocks() -> None:
    model = network()
    add_low_rank(model, 2)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trained if "lora" not in name} == {"head.weight", "head.bias"}
    assert sum("lora" in name for name in trained) == 2 * 2


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(InputError, match="no linear layers in repeated blocks"):
        add_low_rank(nn.Linear(3, 3), 2)
