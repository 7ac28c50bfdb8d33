"""Norms and update ratios by hand, and values that are not finite planted in every place."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from mlexpert.training.gradient_health import GradientHealth, where_it_began

FINE = "the loss itself: every layer's output is finite"


class Block(nn.Module):
    """A residual block: LayerNorm, Linear, a scale of its own, and a sum outside of any layer."""

    def __init__(self, width: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.act = act or nn.ReLU(inplace=True)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.scale * self.act(self.linear(self.norm(inputs)))


class Net(nn.Module):
    """Three blocks under a position that the net owns itself."""

    def __init__(self, act: nn.Module | None = None) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(4))
        self.blocks = nn.Sequential(Block(4), Block(4, act), Block(4))
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.blocks(inputs + self.position))


class Plant(nn.Module):
    """Does what a test says, once in forward and once in backward."""

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor] = lambda x: x,
        backward: Callable[[Tensor], Tensor] = lambda g: g,
    ) -> None:
        super().__init__()
        self.planted, self.planted_gradient = forward, backward

    def forward(self, inputs: Tensor) -> Tensor:
        plant = self

        class Planted(torch.autograd.Function):
            @staticmethod
            def forward(ctx, inputs: Tensor) -> Tensor:
                return plant.planted(inputs.clone())

            @staticmethod
            def backward(ctx, gradient: Tensor) -> Tensor:
                return plant.planted_gradient(gradient.clone())

        return Planted.apply(inputs)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def spoil(tensor: Tensor) -> Tensor:
    tensor[0, 0] = torch.nan
    return tensor


def overflow(tensor: Tensor) -> Tensor:
    tensor[0, 0] = torch.inf
    return tensor


def began(
    model: nn.Module,
    inputs: Tensor | None = None,
    loss: Callable[[Tensor], Tensor] = lambda outputs: outputs.square().sum(),
) -> str:
    inputs = torch.randn(3, 4) if inputs is None else inputs
    return where_it_began(model, lambda: loss(model(inputs)).backward())


def hooks_left(model: nn.Module) -> int:
    modules = sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )
    return modules + sum(len(parameter._backward_hooks or ()) for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("blocks.0.norm", spoil),
        ("blocks.1.linear", spoil),
        ("blocks.2.act", overflow),
        ("head", overflow),
    ],
)
def test_the_layer_whose_output_breaks_is_named(name: str, plant: Callable) -> None:
    model = Net()
    layer = model.get_submodule(name)
    layer.forward = lambda inputs, forward=layer.forward: plant(forward(inputs).clone())
    assert began(model) == (
        f"the output of {name} ({type(layer).__name__}) is the first that is not finite"
    )
    assert hooks_left(model) == 0


def test_fp16_that_overflows_is_found() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 1)).half()
    nn.init.constant_(model[1].weight, 6e4)
    said = began(model, 10 * torch.ones(3, 4).half())
    assert said == "the output of 1 (Linear) is the first that is not finite"


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (["head.weight"], "the weight of head (Linear)"),
        (["blocks.1.linear.bias"], "the bias of blocks.1.linear (Linear)"),
        (["blocks.2.scale"], "the scale of blocks.2 (Block)"),
        (["position"], "the position of Net"),
        # backward carried it from the second block's Linear to all that lies before
        (
            ["position", "blocks.0.norm.weight", "blocks.0.scale", "blocks.1.linear.weight"],
            "the weight of blocks.1.linear (Linear)",
        ),
        (["*"], "the weight of head (Linear)"),
    ],
)
def test_of_parameters_that_are_broken_the_one_nearest_to_the_output_is_named(
    spoilt: list[str], said: str
) -> None:
    model = Net()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in spoilt or spoilt == ["*"]:
                parameter.view(-1)[0] = torch.nan
    assert began(model) == f"{said} is not finite already"


def test_a_parameter_of_a_module_that_is_never_called_has_its_parents_place() -> None:
    attention = nn.MultiheadAttention(4, 1, batch_first=True)  # out_proj is used, not called
    model = nn.ModuleDict({"first": nn.Linear(4, 4), "attention": attention})
    with torch.no_grad():
        model["first"].weight.fill_(torch.nan)
        attention.out_proj.weight.fill_(torch.nan)

    def run() -> None:
        x = model["first"](torch.randn(3, 2, 4))
        model["attention"](x, x, x)[0].sum().backward()

    said = where_it_began(model, run)
    assert said == (
        "the weight of attention.out_proj (NonDynamicallyQuantizableLinear) is not finite already"
    )


def test_inputs_that_are_broken_are_named_by_their_pass() -> None:
    model, good = Net(), torch.randn(3, 4)
    bad = spoil(good.clone())
    assert began(model, bad) == "the inputs of the batch are not finite"

    def attacked() -> None:
        model(good).sum().backward()
        model(bad).sum().backward()

    said = where_it_began(model, attacked)
    assert said == "what Net is given in call 2 is the first that is not finite"

    def in_parts() -> None:
        model.head(model.blocks(good) / 0.0).sum().backward()

    said = where_it_began(model, in_parts)
    assert said == "what head (Linear) is given in call 1 is the first that is not finite"


def test_code_between_layers_is_placed_in_the_module_that_runs_it() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second(self.first(inputs) / 0.0)

    assert began(nn.Sequential(Between())) == (
        "what reaches 0.second (Sequential) is the first that is not finite: "
        "0 (Between) makes it outside of its layers"
    )

    class AtTheEnd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.linear(inputs).abs().neg().log()

    said = began(nn.Sequential(AtTheEnd(), nn.Linear(4, 2)))
    assert said == "the output of 0 (AtTheEnd) is the first that is not finite"


def test_what_becomes_finite_again_is_no_origin() -> None:
    healed = nn.Sequential(nn.Linear(4, 4), Plant(overflow), nn.Tanh(), Plant(spoil))
    assert began(healed) == "the output of 3 (Plant) is the first that is not finite"

    class Masked(nn.Module):
        """Heals by code of its own, so that no layer is seen to."""

        def __init__(self) -> None:
            super().__init__()
            self.mask = Plant(lambda x: x.fill_diagonal_(-torch.inf))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.mask(inputs).softmax(1)

    model = nn.Sequential(nn.Linear(4, 4), Masked(), nn.Linear(4, 2))
    assert began(model, loss=lambda outputs: outputs.sum() * torch.nan) == FINE


def test_a_mask_among_the_inputs_is_no_broken_input() -> None:
    model = nn.MultiheadAttention(4, 1, batch_first=True)
    x, mask = torch.randn(3, 2, 4), torch.full((2, 2), -torch.inf)  # nothing to attend to
    said = where_it_began(model, lambda: model(x, x, x, attn_mask=mask)[0].sum().backward())
    assert said == "the output of MultiheadAttention is the first that is not finite"


def test_a_loss_that_breaks_behind_the_model_is_named() -> None:
    assert began(Net(), loss=lambda outputs: outputs.sum() * torch.nan) == FINE
    assert began(Net(), loss=lambda outputs: (outputs * 0.0).sqrt().sum()) == FINE
    assert began(Net(), loss=lambda outputs: outputs.sum() + torch.tensor(torch.nan)) == FINE


def test_a_layer_whose_gradient_breaks_is_named() -> None:
    said = began(Net(Plant(backward=spoil)))
    assert said == (
        "the gradient that blocks.1.act (Plant) passes back is the first that is not finite"
    )

    class Root(nn.Module):
        """The square root of 0 is finite and its slope is not."""

        def forward(self, inputs: Tensor) -> Tensor:
            return (0.0 * inputs).sqrt()

    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0), Root(), nn.Identity(), nn.Linear(4, 2))
    said = began(model)
    assert said == "the gradient that 2 (Root) passes back is the first that is not finite"
    assert hooks_left(model) == 0


def test_a_parameter_whose_gradient_breaks_is_named() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.0))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs + self.gain.sqrt()

    said = began(nn.Sequential(nn.Linear(4, 4), Scale(), nn.Linear(4, 2)))
    assert said == "the gradient of 1.gain is the first that is not finite"


def test_a_gradient_that_breaks_between_layers_is_placed_behind_the_one_before() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second((0.0 * self.first(inputs)).sqrt())

    said = began(nn.Sequential(nn.Linear(4, 4), Between()))
    assert said == "the gradient of the output of 1.first (Linear) is the first that is not finite"


def test_a_shared_layer_is_blamed_for_the_call_that_broke() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Tanh(), shared, Plant(spoil), shared)
    assert began(model) == "the output of 3 (Plant) is the first that is not finite"
    model = nn.Sequential(shared, Plant(backward=spoil), shared)
    assert began(model) == (
        "the gradient that 1 (Plant) passes back is the first that is not finite"
    )


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_block_is_looked_into(reentrant: bool) -> None:
    class Recomputed(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, inputs: Tensor) -> Tensor:
            return checkpoint(self.block, inputs, use_reentrant=reentrant)

    def model(block: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), Recomputed(block), nn.Linear(4, 2))

    linear = nn.Linear(4, 4)
    planted = model(nn.Sequential(linear, Plant(spoil), nn.ReLU()))
    assert began(planted) == "the output of 1.block.1 (Plant) is the first that is not finite"
    planted = model(nn.Sequential(linear, Plant(backward=spoil), nn.ReLU()))
    said = "the gradient that 1.block.1 (Plant) passes back is the first that is not finite"
    assert began(planted) == said

    behind = model(nn.Sequential(linear, nn.ReLU())).append(Plant(backward=spoil))
    said = "the gradient that 3 (Plant) passes back is the first that is not finite"
    assert began(behind) == said

    # Recomputing stops early, in the middle of modules; a later pass is still one from outside.
    sound, bad = (
        model(nn.Sequential(linear, nn.Sequential(nn.Tanh()))),
        torch.full((3, 4), torch.nan),
    )

    def run() -> None:
        for inputs in (torch.randn(3, 4), bad):
            sound(inputs).sum().backward()

    said = where_it_began(sound, run)
    assert said == "what Sequential is given in call 2 is the first that is not finite"


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_is_looked_into(in_place: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    compiled: nn.Module = model
    if in_place:
        model.compile(backend="eager")
    else:
        compiled = torch.compile(model, backend="eager")
    compiled(torch.randn(3, 4)).sum().backward()
    with torch.no_grad():
        model[0].weight.fill_(3e38)
    inputs = torch.full((3, 4), 100.0)
    said = where_it_began(model, lambda: compiled(inputs).sum().backward())
    assert said == "the output of 0 (Linear) is the first that is not finite"


def test_nested_outputs_and_frozen_layers_are_looked_into() -> None:
    class Nested(nn.Module):
        def forward(self, inputs: Tensor) -> dict[str, tuple[Tensor, ...]]:
            return {"logits": (inputs, spoil(inputs.clone()))}

    model = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4), Nested())
    said = began(model, loss=lambda outputs: outputs["logits"][1].sum())
    assert said == "the output of 2 (Nested) is the first that is not finite"


def test_hooks_are_gone_after_an_exception_too() -> None:
    model, inputs = Net(), torch.randn(3, 4, requires_grad=True)

    def run() -> None:
        model.head(inputs)
        raise MemoryError("planted")

    with pytest.raises(MemoryError, match="planted"):
        where_it_began(model, run)
    assert hooks_left(model) == 0
    assert not inputs._backward_hooks


def test_repeating_changes_no_gradient() -> None:
    model, inputs = Net(), torch.randn(3, 4)
    model(inputs).square().sum().backward()
    plain = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    where_it_began(model, lambda: model(inputs).square().sum().backward())
    for before, parameter in zip(plain, model.parameters(), strict=True):
        assert torch.equal(before, parameter.grad)


def test_rows_equal_those_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0.0]]))
        model[0].bias.fill_(4.0)
        model[1].weight.fill_(2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    health = GradientHealth(model)
    # out = 2 * (3 * 1 + 0 * 2 + 4) = 14, so d/dw = 2 * (1, 2), d/db = 2 and d/dv = 7
    model(torch.tensor([[1.0, 2.0]])).sum().backward()
    health.before()
    nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    optimizer.step()
    first, second = health.after()
    assert first == {
        "layer": "0",
        "gradient_norm": pytest.approx((4 + 16 + 4) ** 0.5),
        "weight_norm": pytest.approx(5.0),
        "update_ratio": pytest.approx(0.1 * 24**0.5 / 5),
    }
    assert second == {
        "layer": "1",
        "gradient_norm": pytest.approx(7.0),
        "weight_norm": pytest.approx(2.0),
        "update_ratio": pytest.approx(0.35),
    }


def test_the_gradient_is_the_one_before_clipping_and_the_step_the_one_after() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    health = GradientHealth(model)
    model(torch.tensor([[100.0]])).sum().backward()
    health.before()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    [row] = health.after()
    assert row["layer"] == "Linear"
    assert row["gradient_norm"] == pytest.approx(100.0)
    assert row["update_ratio"] == pytest.approx(0.5, rel=1e-5)


def test_layers_without_gradient_and_shared_ones_are_counted_once_or_not_at_all() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Linear(3, 3).requires_grad_(False), shared, nn.Linear(3, 1))
    unused = nn.ModuleDict({"net": model, "unused": nn.Linear(3, 3)})
    health = GradientHealth(unused)
    assert health.after() == []
    model(torch.randn(4, 3)).sum().backward()
    health.before()
    rows = health.after()
    assert [row["layer"] for row in rows] == ["net.0", "net.3"]
    assert [row["update_ratio"] for row in rows] == [0.0, 0.0]
    gradients = torch.cat([shared.weight.grad.flatten(), shared.bias.grad])
    assert rows[0]["gradient_norm"] == pytest.approx(gradients.norm().item())
    assert health.after() == []


def test_a_step_that_was_skipped_leaves_nothing_behind() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    health = GradientHealth(model)
    model(torch.ones(1, 2)).sum().backward()
    health.before()
    model[0].zero_grad()
    health.before()
    assert [row["layer"] for row in health.after()] == ["1"]


def test_only_the_last_line_waits_for_the_device() -> None:
    class NoReadingBack(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert func is not torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    model = Net()
    model(torch.randn(3, 4)).sum().backward()
    health = GradientHealth(model)
    with NoReadingBack():
        health.before()
        rows = health.after()  # reads all numbers by one tolist, which is none of these
        with pytest.raises(AssertionError):
            float(model.position.sum())
    assert len(rows) == 11


def test_zero_weights_have_no_ratio_and_half_precision_does_not_overflow() -> None:
    zero = nn.Linear(2, 2)
    nn.init.zeros_(zero.weight)
    nn.init.zeros_(zero.bias)
    wide = nn.Linear(400, 1).half()
    nn.init.constant_(wide.weight, 6e4)
    for layer in (zero, wide):
        for parameter in layer.parameters():
            parameter.grad = torch.ones_like(parameter)
    health = GradientHealth(nn.ModuleList([zero, wide]))
    health.before()
    rows = health.after()
    assert rows[0]["update_ratio"] is None
    assert rows[1]["weight_norm"] == pytest.approx(1.2e6, rel=1e-4)
    json.dumps(rows, allow_nan=False)
