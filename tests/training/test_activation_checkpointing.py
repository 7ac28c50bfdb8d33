"""Recomputed activations against the plain run: equal to the bit, in less memory."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.blocks.layers.image_normalize import ImageNormalize
from mlexpert.training.activation_checkpointing import checkpoint_blocks, uncheckpoint


def resnet() -> nn.Module:
    backbone = ResNet(in_channels=3, num_classes=4, image_size=(16, 16), depth=14, width=4)
    return nn.Sequential(ImageNormalize([0.5] * 3, [0.2] * 3), backbone)


def text() -> nn.Module:
    return TextTransformer(vocab_size=50, num_classes=4, max_length=12, width=16, num_layers=3)


def table() -> nn.Module:
    return TabularEnsemble([[0.0, 0.5, 1.0], [0.0, 0.4, 1.0]], 4, num_members=2, width=8)


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def vit() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224",
        pretrained=False,
        img_size=32,
        patch_size=8,
        depth=3,
        drop_path_rate=0.5,
    )


def chain() -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(5):
        layers += [nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.2)]
    return nn.Sequential(*layers)


def units() -> nn.Module:
    def unit(channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))

    return nn.Sequential(unit(3), unit(4), nn.Flatten(), nn.Linear(4, 2))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], list[str]]] = {
    "resnet": (
        *(resnet, lambda: torch.rand(4, 3, 16, 16)),
        [f"1.stages.{stage}.{block}" for stage in range(3) for block in range(2)] + ["1.stem"],
    ),
    "text": (text, lambda: torch.randint(1, 50, (4, 12)), [f"layers.{i}" for i in range(3)]),
    "table": (table, lambda: torch.rand(4, 2), []),
    "encoder": (encoder, lambda: torch.rand(4, 5, 16), [f"layers.{i}" for i in range(3)]),
    "vit": (vit, lambda: torch.rand(4, 3, 32, 32), [f"blocks.{i}" for i in range(3)]),
    "units": (units, lambda: torch.rand(4, 3, 5, 5), ["0", "1"]),
    "chain": (chain, lambda: torch.rand(4, 4, 4), [""]),
}


def pair(name: str) -> tuple[nn.Module, nn.Module, Callable[[], Tensor]]:
    """A model, the same model checkpointed, and what draws inputs for it."""
    make, draw, names = CASES[name]
    torch.manual_seed(0)
    plain = make().train()
    recomputed = copy.deepcopy(plain)
    assert checkpoint_blocks(recomputed) == names
    return plain, recomputed, draw


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_loss_gradients_buffers_and_random_state_equal_the_plain_run(
    name: str, precision: str
) -> None:
    plain, recomputed, draw = pair(name)
    inputs, others = draw(), draw()
    losses, states = [], []
    for model in (plain, recomputed):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            # Two passes in one graph: the first is recomputed after the second.
            loss = (model(inputs).float() ** 2).sum() + model(others).float().sin().sum()
        loss.backward()
        losses.append(loss)
        states.append(torch.get_rng_state())
    assert torch.equal(*losses) and torch.equal(*states)
    assert any(parameter.grad is not None for parameter in plain.parameters())
    for (key, mine), other in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        assert torch.equal(mine.grad, other.grad), key  # type: ignore[arg-type]
    for (key, buffer), copied in zip(plain.named_buffers(), recomputed.buffers(), strict=True):
        assert torch.equal(buffer, copied), key


def test_batch_norm_counts_a_batch_once() -> None:
    _, model, draw = pair("resnet")
    own = dict(model.named_buffers())
    for _ in range(3):
        model(draw()).sum().backward()
    counts = [value.item() for key, value in own.items() if key.endswith("num_batches_tracked")]
    assert counts == [3] * 13
    assert all(value is own[key] for key, value in model.named_buffers())


@pytest.mark.parametrize("name", CASES)
def test_names_types_and_weights_stay_and_undoing_leaves_no_trace(name: str) -> None:
    plain, model, draw = pair(name)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    assert checkpoint_blocks(model) == CASES[name][2]  # once more changes nothing
    uncheckpoint(model)
    assert [vars(m).keys() for m in model.modules()] == [vars(m).keys() for m in plain.modules()]
    inputs, outputs = draw(), []
    for either in (plain, model):
        torch.manual_seed(2)
        outputs.append(either(inputs))
    assert torch.equal(*outputs)


class Block(nn.Module):
    """Takes more than one tensor, gives two, and counts its runs in Python and in a buffer."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("calls", torch.zeros(()))
        self.runs = 0

    def forward(
        self, left: Tensor, right: Tensor | None, flip: bool, *, scale: Tensor, function: str
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.runs += 1
        self.calls += 1
        mixed = torch.dropout(self.linear(left), 0.5, self.training).sin() * scale
        if right is not None:
            mixed = mixed + right if flip else mixed - right
        return mixed.tanh(), {function: mixed.exp()}


class Blocks(nn.Module):
    def __init__(self, number: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(number))

    def forward(self, inputs: Tensor) -> Tensor:
        right: Tensor | None = None
        for number, block in enumerate(self.blocks):
            scale = inputs.mean()
            out = block(inputs, right, flip=number % 2 == 0, scale=scale, function="exp")
            inputs, right = out[0], out[1]["exp"]
        return inputs


def test_blocks_take_whatever_arguments_they_take() -> None:
    torch.manual_seed(0)
    plain = Blocks().train()
    model = copy.deepcopy(plain)
    assert checkpoint_blocks(model) == ["blocks.0", "blocks.1", "blocks.2"]
    inputs = torch.rand(4, 8)
    gradients = []
    for either in (plain, model):
        torch.manual_seed(1)
        leaf = inputs.clone().requires_grad_()
        either(leaf).sum().backward()
        gradients.append([leaf.grad, *(parameter.grad for parameter in either.parameters())])
    assert all(map(torch.equal, *gradients))
    assert [(block.runs, block.calls.item()) for block in model.blocks] == [(2, 1.0)] * 3


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_blocks_run_once_in_eval_mode_and_without_gradients(context: Callable[[], Any]) -> None:
    model = Blocks().train(context is not torch.enable_grad)
    checkpoint_blocks(model)
    with context():
        outputs = model(torch.rand(4, 8))
    if context is torch.enable_grad:
        outputs.sum().backward()
    assert [block.runs for block in model.blocks] == [1, 1, 1]


def test_a_deep_copy_computes_with_its_own_weights() -> None:
    _, model, draw = pair("vit")
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    outputs = copied(draw())
    outputs.sum().backward()
    assert torch.equal(outputs, torch.zeros_like(outputs))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in copied.parameters())


def test_a_forward_that_others_have_overridden_is_left_alone() -> None:
    model = Blocks()
    foreign = model.blocks[1].forward = lambda *args, **kwargs: (args[0], {"exp": args[0]})
    assert checkpoint_blocks(model) == ["blocks.0", "blocks.2"]
    uncheckpoint(model)
    assert [vars(block).get("forward") for block in model.blocks] == [None, foreign, None]


def test_an_input_that_a_block_changes_in_place_is_an_error_and_no_wrong_gradient() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.linear(inputs.mul_(0.5)).sin()

    model = nn.Sequential(nn.Linear(8, 8), InPlace(), InPlace())
    checkpoint_blocks(model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        model(torch.rand(2, 8)).sum().backward()


class LiveBytes(TorchDispatchMode):
    """Follows the memory that operators allocate, on real and on fake tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak, self.known = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(outputs):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(id(storage))
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._freed, id(storage), storage.nbytes())
        return outputs

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def peak_bytes(model: nn.Module, inputs: Tensor) -> int:
    with LiveBytes() as memory:
        model(inputs).sum().backward()
    return memory.peak


def deep_text() -> nn.Module:
    return TextTransformer(vocab_size=50, num_classes=4, max_length=64, width=16, num_layers=12)


def deep_chain() -> nn.Module:
    return nn.Sequential(
        *(layer for _ in range(36) for layer in (nn.Linear(16, 16), nn.ReLU(inplace=True)))
    )


DEEP: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], float]] = {
    "text": (deep_text, lambda: torch.randint(1, 50, (32, 64)), 0.35),
    "resnet": (
        lambda: ResNet(in_channels=3, num_classes=4, image_size=(16, 16), depth=56),
        lambda: torch.rand(64, 3, 16, 16),
        0.5,
    ),
    "chain": (deep_chain, lambda: torch.rand(2048, 16), 0.5),
}


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_model_needs_clearly_less_memory(name: str) -> None:
    make, draw, share = DEEP[name]
    model, inputs = make().train(), draw()
    plain = peak_bytes(model, inputs)
    model.zero_grad()
    checkpoint_blocks(model)
    fake = fake_peak_bytes(model, inputs)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert peak_bytes(model, inputs) == fake < share * plain


def fake_peak_bytes(model: nn.Module, inputs: Tensor) -> int:
    """Return the peak of a copy on fake tensors, for which nothing is allocated."""
    mode = FakeTensorMode()
    tensors = [*model.parameters(), *model.buffers()]
    copied = copy.deepcopy(model, {id(tensor): mode.from_tensor(tensor) for tensor in tensors})
    with mode:
        peak = peak_bytes(copied, mode.from_tensor(inputs))
    assert all(parameter.grad is not None for parameter in copied.parameters())
    return peak
