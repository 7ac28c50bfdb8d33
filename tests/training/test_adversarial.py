"""What all methods share that train against an attacker, and TRADES beside its formula."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlexpert.blocks.attacks.threat import Threat
from mlexpert.training.method import Batch, Examined, Loss, summed
from mlexpert.training.methods.adversarial import AdversarialMethod, Attacking, whole_where_fp16
from mlexpert.training.methods.trades import Trades
from mlexpert.training.precision import Engine
from mlexpert.training.tracking import RunFolder
from mlexpert.training.trainer import Trainer
from tests.training.test_trainer import PLAN, stretch

THREAT = Threat("linf", 0.1, -10.0, 10.0)


def attacking(**options) -> Attacking:
    return Attacking(THREAT, **{"steps": 3, "step_size": 0.5, **options})


def batch(rows: int = 16, features: int = 5) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.randn(rows, features), torch.randint(3, (rows,)), torch.arange(rows))


def net(features: int = 5) -> nn.Sequential:
    torch.manual_seed(1)
    layers = nn.Linear(features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    return nn.Sequential(*layers)


class Plain(AdversarialMethod):
    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        return summed(F.cross_entropy(model(batch.inputs), batch.targets, reduction="none"), batch)


class Found(Plain):
    """Finds given robust accuracies after the epochs."""

    def __init__(self, accuracies: list[float]) -> None:
        super().__init__(attacking())
        self.accuracies = accuracies

    def examine(self, model: nn.Module, rows) -> Examined:
        accuracy = self.accuracies.pop(0)
        over = "it collapsed." if accuracy < self.best - 0.2 else ""
        self.best = max(self.best, accuracy)
        return Examined({"robust_error": 1 - accuracy}, over)


def trained(folder: Path, method: nn.Module, epochs: int) -> tuple[Trainer, list[dict]]:
    model = nn.Sequential(nn.Linear(5, 2))
    plan = PLAN.__class__(**{**vars(PLAN), "monitor": "robust_error", "patience": 0})
    run = RunFolder(folder, {}, fresh=True)
    trainer = Trainer(model, method, [stretch(model, epochs=epochs)], plan, Engine("fp32"), run)
    trainer.run()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return trainer, [row for row in map(json.loads, lines) if row.get("split") == "validation"]


def test_a_collapse_ends_training_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="ends after epoch 4: it collapsed"):
        trainer, rows = trained(tmp_path, Found([0.5, 0.7, 0.65, 0.4, 0.9]), epochs=5)
    assert trainer.folder.facts["ended"] == {"epoch": 4, "why": "it collapsed."}
    assert [row["robust_error"] for row in rows] == pytest.approx([0.5, 0.3, 0.35, 0.6])
    assert trainer.at.best["epoch"] == 2


def test_a_dip_does_not_end_training(tmp_path: Path) -> None:
    _, rows = trained(tmp_path, Found([0.5, 0.7, 0.55, 0.6]), epochs=4)
    assert len(rows) == 4


def test_an_epoch_is_judged_by_an_attack_that_never_changes(tmp_path: Path) -> None:
    model, rows = net(), [batch()]
    first, again = (Plain(attacking(judged=10)) for _ in range(2))
    torch.manual_seed(0)
    one = first.examine(model, iter(rows))
    torch.manual_seed(9)
    assert again.examine(model, iter(rows)).scores == one.scores
    assert (one.scores["robust_error"] * 10) % 1 == pytest.approx(0, abs=1e-9), "of ten rows"
    clean = (model.eval()(batch().inputs[:10]).argmax(1) != batch().targets[:10]).double().mean()
    assert one.scores["robust_error"] >= clean.item()


def test_a_real_collapse_is_seen() -> None:
    """A model that is robust, and then one whose gradient misleads single steps."""
    method, rows = Plain(attacking()), batch()
    sure = nn.Linear(5, 3)
    with torch.no_grad():
        sure.weight.zero_()
        sure.bias.zero_()
        sure.bias[1] = 1.0
    rows = Batch(rows.inputs, torch.ones(16).long(), rows.index)
    assert not method.examine(sure, iter([rows])).over
    method.done = 100
    steep = nn.Linear(5, 3)
    with torch.no_grad():
        steep.weight.copy_(100 * torch.randn(3, 5))
    assert "fell from 1.000 to" in method.examine(steep, iter([rows])).over


def test_what_chance_does_with_few_rows_is_no_collapse() -> None:
    method = Plain(attacking())
    method.done, method.best = 100, 0.7  # and 6 of 16 rows stand now, of which 3 errors are 0.53
    rows = Batch(torch.full((16, 5), 5.0), (torch.arange(16) >= 6).long(), torch.arange(16))
    constant = nn.Linear(5, 3)
    with torch.no_grad():
        constant.weight.zero_()
        constant.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    found = method.examine(constant, iter([rows]))
    assert found.scores["robust_error"] == 10 / 16 and not found.over


def test_epsilon_rises_over_the_warm_up() -> None:
    method = Plain(attacking(warmup=4))
    radii = []
    for _ in range(6):
        method.draw(net(), batch())
        radii.append(method.threat().epsilon)
    assert radii == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_attacked_inputs_are_worse_and_within_the_ball() -> None:
    method, model, rows = Plain(attacking()), net(), batch()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    moved = method.adversarial(model, rows)
    assert model.training and all(torch.equal(model.state_dict()[n], state[n]) for n in state)
    model.eval()
    assert THREAT.distance(moved, rows.inputs).max() <= 0.1
    assert F.cross_entropy(model(moved), rows.targets) > F.cross_entropy(
        model(rows.inputs), rows.targets
    )


def test_trades_is_cross_entropy_and_the_divergence() -> None:
    method, model, rows = Trades(attacking(), beta=6.0), net().eval(), batch()
    moved = method.attacked(model, rows)
    clean, attacked = model(rows.inputs), model(moved)
    wanted = F.cross_entropy(clean, rows.targets) + 6.0 * F.kl_div(
        attacked.log_softmax(1), clean.softmax(1), reduction="batchmean"
    )
    found = method.trades(model, rows, moved)
    torch.testing.assert_close(found.total / found.count, wanted)


def test_trades_looks_at_clean_inputs_once_an_attack() -> None:
    model, seen = net().eval(), []
    method, rows = Trades(attacking(), beta=1.0), batch()

    def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(torch.equal(inputs[0], rows.inputs))

    model.register_forward_pre_hook(look)
    method.attacked(model, rows)
    assert seen == [True] + [False] * method.how.steps


def test_attacks_are_whole_where_halves_vanish() -> None:
    model, inputs = nn.Linear(3, 2), torch.rand(2, 3)
    for dtype, wanted in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)):
        with torch.autocast("cpu", dtype=dtype), whole_where_fp16(inputs):
            assert model(inputs).dtype == wanted
    with whole_where_fp16(inputs):
        assert model(inputs).dtype == torch.float32


def test_state_goes_through_a_checkpoint() -> None:
    method = Plain(attacking(warmup=4))
    method.draw(net(), batch())
    method.best = 0.5
    again = Plain(attacking(warmup=4))
    again.load_state_dict(method.state_dict())
    assert (again.done, again.best) == (1, 0.5)
