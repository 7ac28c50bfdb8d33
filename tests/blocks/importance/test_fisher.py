from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.backbones.resnet import ResNet
from mlexpert.blocks.backbones.tabular import TabularEnsemble
from mlexpert.blocks.backbones.text_transformer import TextTransformer
from mlexpert.blocks.importance import linear_layers, per_example
from mlexpert.blocks.importance.fisher import fisher
from mlexpert.blocks.importance.linear_layers import row_wise_layers
from mlexpert.blocks.layers.task_classes import TaskClasses
from mlexpert.errors import InputError


class Twice(nn.Module):
    """A layer that is called twice, one for every member, one in place, and a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(4, 6), nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.rand(3, 6))
        self.head = nn.Linear(6, 5)
        self.still = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.first(inputs), inplace=True)
        hidden = self.again(self.again(hidden).tanh())
        return self.head(hidden[:, None] * self.scale)  # (B, 3, 5)


class Stubborn(nn.Module):
    """No operation for many rows at once reads a number out of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([row * (1.0 + float(row.abs().sum() > 0)) for row in inputs]) @ (
            self.weight
        )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 5))


def convolutions() -> nn.Module:
    model = ResNet(in_channels=1, num_classes=5, image_size=(8, 8), depth=8, width=6)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2.0)
    return model


def table() -> nn.Module:
    levels = torch.linspace(-1, 1, 9).tolist()
    return TabularEnsemble([levels, levels, levels, 4], 3, num_members=2, width=6, num_bins=4)


def text() -> nn.Module:
    return TextTransformer(vocab_size=20, num_classes=3, max_length=6, width=16)


def rows_for(name: str, count: int) -> Tensor:
    if name == "convolutions":
        return torch.rand(count, 1, 8, 8)
    if name == "text":
        return torch.randint(2, 20, (count, 6))
    numbers = torch.randn(count, 4)
    if name == "table":
        numbers[:, 3] = torch.randint(0, 4, (count,)).float()
    return numbers


MODELS = {
    "mlp": mlp,
    "convolutions": convolutions,
    "table": table,
    "text": text,
    "twice": Twice,
    "stubborn": Stubborn,
}
every_model = pytest.mark.parametrize("name", MODELS)


def made(name: str, count: int) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(3)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # some start at zero, and so others without gradient
            parameter += 0.05 * torch.randn_like(parameter)
    return model, rows_for(name, count), torch.randint(0, 2, (count,))


def unmasked(logits: Tensor, targets: Tensor) -> Tensor:
    return logits


def log_p_of(logits: Tensor) -> Tensor:
    log_p = logits.log_softmax(-1)
    return log_p.mean(1) if log_p.ndim == 3 else log_p


def by_brute_force(model: nn.Module, inputs: Tensor, classes: list[int]) -> dict[str, Tensor]:
    """Square the gradient of every row and label, one after the other."""
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    sums = {n: torch.zeros_like(p) for n, p in named.items()}
    for row in inputs:
        logits = model(row[None])[..., classes]
        p = logits.softmax(-1)
        p = (p.mean(1) if p.ndim == 3 else p)[0].detach()
        for y in range(len(classes)):
            log_p = log_p_of(model(row[None])[..., classes])[0, y]
            grads = torch.autograd.grad(log_p, named.values(), materialize_grads=True)
            for name, grad in zip(named, grads, strict=True):
                sums[name] += p[y] * grad.square()
    return {name: value / len(inputs) for name, value in sums.items()}


def in_batches(inputs: Tensor, targets: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], rtol: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.abs().sum() > 0 or "embed" in name or "categories" in name
        largest = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=rtol * largest * 1e-2)


@every_model
def test_is_that_of_every_row_and_label_by_itself(name: str) -> None:
    model, inputs, targets = made(name, 5)
    classes = list(range(model(inputs).shape[-1]))
    found = fisher(model, in_batches(inputs, targets, 5), mask=unmasked)
    assert_close(found, by_brute_force(model, inputs, classes), rtol=1e-4)


@every_model
def test_batches_of_1_and_of_128_give_the_same(name: str) -> None:
    model, inputs, targets = made(name, 256 if name == "mlp" else 30)
    one = fisher(model, in_batches(inputs, targets, 1), mask=unmasked)
    many = fisher(model, in_batches(inputs, targets, 128), mask=unmasked)
    assert_close(one, many, rtol=1e-5)


def test_of_an_mlp_is_the_closed_form() -> None:
    model, inputs, targets = made("mlp", 64)
    first, last = model[1], model[3]
    with torch.no_grad():
        hidden = F.relu(first(inputs))
        p = last(hidden).softmax(-1)  # (B, K)
        weight, bias = torch.zeros_like(first.weight), torch.zeros_like(first.bias)
        for y in range(5):
            delta = F.one_hot(torch.tensor(y), 5) - p  # d log p_y / d logits
            below = (delta @ last.weight) * (hidden > 0)
            weight += (p[:, y, None] * below.square()).T @ inputs.square() / 64
            bias += (p[:, y, None] * below.square()).sum(0) / 64
        # Of the last layer it has no sum over labels left: sum_y p_y (e_y - p)_k^2 = p_k (1 - p_k).
        head = (p * (1 - p)).T @ hidden.square() / 64
    found = fisher(model, in_batches(inputs, targets, 64), mask=unmasked)
    expected = {"1.weight": weight, "1.bias": bias, "3.weight": head}
    assert_close({name: found[name] for name in expected}, expected, rtol=1e-5)


def test_is_over_the_classes_that_the_loss_is_over() -> None:
    model, inputs, targets = made("mlp", 12)
    classes = TaskClasses(5)
    classes.see(torch.tensor([0, 1]), 0)
    classes.see(torch.tensor([3]), 1)
    seen = fisher(
        model, in_batches(inputs, targets, 6), mask=lambda logits, _: classes.of_seen(logits)
    )
    assert_close(
        {n: v for n, v in seen.items() if not n.startswith("3")},
        {
            n: v
            for n, v in by_brute_force(model, inputs, [0, 1, 3]).items()
            if not n.startswith("3")
        },
        rtol=1e-4,
    )
    assert seen["3.weight"][[2, 4]].abs().max() == 0 and seen["3.weight"][[0, 1, 3]].min() >= 0

    def by_task(logits: Tensor, targets: Tensor) -> Tensor:
        return classes.of_tasks(logits, classes.tasks_of(targets))

    told = fisher(model, in_batches(inputs, targets, 6), mask=by_task)  # targets are 0 and 1
    assert_close(
        {"1.weight": told["1.weight"]},
        {"1.weight": by_brute_force(model, inputs, [0, 1])["1.weight"]},
        rtol=1e-4,
    )
    # Of one class there is nothing to know.
    alone = fisher(model, [(inputs, torch.full((12,), 3))], mask=by_task)
    assert all(value.abs().max() == 0 for value in alone.values())


def test_empirical_squares_the_gradient_of_the_target() -> None:
    model, inputs, targets = made("mlp", 6)
    found = fisher(model, in_batches(inputs, targets, 4), mask=unmasked, labels="empirical")
    expected = {name: torch.zeros_like(value) for name, value in found.items()}
    for row, target in zip(inputs, targets, strict=True):
        model.zero_grad()
        F.cross_entropy(model(row[None]), target[None]).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            expected[name] += parameter.grad.square() / 6
    assert_close(found, expected, rtol=1e-4)


def test_sampled_labels_give_the_expected_in_the_long_run() -> None:
    model, inputs, targets = made("mlp", 2)
    expected = fisher(model, [(inputs, targets)], mask=unmasked)
    often = [(inputs.repeat(4000, 1), targets.repeat(4000))]
    sampled = fisher(model, often, mask=unmasked, labels="sampled")
    for name, value in expected.items():
        assert (sampled[name] - value).norm() < 0.05 * value.norm()


@every_model
def test_rows_go_one_by_one_only_where_a_model_needs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, targets = made(name, 3)
    called = []
    by_row = per_example._row_by_row

    def note(*given):
        called.append(given)
        return by_row(*given)

    monkeypatch.setattr(per_example, "_row_by_row", note)
    fisher(model, [(inputs, targets)], mask=unmasked)
    assert bool(called) == (name == "stubborn")


def test_leaves_model_and_gradients_alone() -> None:
    model, inputs, targets = made("convolutions", 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fisher(model, [(inputs, targets)], mask=unmasked)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_few_rows_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("convolutions", "twice", "text"):
        model, inputs, targets = made(name, 6)
        whole = fisher(model, [(inputs, targets)], mask=unmasked)
        with monkeypatch.context() as patched:
            patched.setattr(per_example, "NUMBERS", 1)
            patched.setattr(linear_layers, "NUMBERS", 1)
            assert_close(fisher(model, [(inputs, targets)], mask=unmasked), whole, rtol=1e-5)


def test_which_layers_take_one_product() -> None:
    twice = Twice().eval()
    assert row_wise_layers(twice, torch.randn(3, 4)) == [twice.first, twice.head]

    class Folded(nn.Module):
        """Its layer sees the columns as rows: as many as there are of these, in one batch."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layer(inputs[..., None].expand(-1, -1, 4).transpose(0, 1)).sum(0)

    folded = Folded()
    rows = torch.randn(4, 4)
    assert row_wise_layers(folded, rows) == []
    found = fisher(folded.eval(), [(rows, torch.zeros(4))], mask=unmasked)
    assert_close(found, by_brute_force(folded, rows, [0, 1, 2, 3]), rtol=1e-4)


def test_training_mode_and_no_rows_are_refused() -> None:
    model, inputs, targets = made("convolutions", 2)
    with pytest.raises(InputError, match=r"training mode.*model\.eval\(\)"):
        fisher(model.train(), [(inputs, targets)], mask=unmasked)
    with pytest.raises(InputError, match="no rows"):
        fisher(model.eval(), [], mask=unmasked)


def test_of_a_compiled_model_is_the_same() -> None:
    model, inputs, targets = made("convolutions", 4)
    plain = fisher(model, [(inputs, targets)], mask=unmasked)
    model.compile(backend="eager")
    model(inputs)  # compiled from here on
    assert_close(fisher(model, [(inputs, targets)], mask=unmasked), plain, rtol=1e-5)
