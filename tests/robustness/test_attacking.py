"""`mlexpert.attack`: beside closed forms, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file
from scipy.stats import binomtest
from torch import Tensor, nn

import mlexpert
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.recipes import get
from tests.small_data import images, numbers, table, texts

QUIET = {"progress": False}
CHEAP = {"progress": False, "checks": False}


def linear(num_classes: int = 2, size: int = 6, seed: int = 0) -> nn.Linear:
    """A linear model whose classes meet in the middle of the box."""
    torch.manual_seed(seed)
    model = nn.Linear(size, num_classes).eval()
    with torch.no_grad():
        model.bias.copy_(-model.weight.sum(dim=1) / 2)
    return model


def rows_for(model: nn.Module, count: int = 200, size: int = 6) -> tuple[Tensor, Tensor]:
    """Rows well inside the box, with the model's own answers as labels."""
    rows = torch.rand(count, size, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    with torch.no_grad():
        return rows, model(rows).argmax(dim=1)


def distance_to_boundary(model: nn.Linear, rows: Tensor, norm: str) -> Tensor:
    """How far (N,) two classes' rows are from the decision's boundary, in closed form."""
    weight = (model.weight[1] - model.weight[0]).detach()
    offset = (model.bias[1] - model.bias[0]).detach()
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    return (rows @ weight + offset).abs() / torch.linalg.vector_norm(weight, dual)


@pytest.mark.parametrize("attack", ["auto", "quick", "pgd", "apgd", "square", "fgsm"])
def test_of_a_linear_model_the_rows_beyond_epsilon_stand(attack):
    model, epsilon = linear(), 0.05
    rows, labels = rows_for(model)
    expected = distance_to_boundary(model, rows, "linf") > epsilon
    assert 20 < int(expected.sum()) < 180  # both kinds are there
    found = mlexpert.attack(model, (rows, labels), attack=attack, epsilon=epsilon, **CHEAP)
    assert found.clean.correct == 200
    assert abs(found.robust.correct - int(expected.sum())) <= (8 if attack == "square" else 1)
    assert not bool((found.broken & expected).any())
    moved = (found.adversarial.double() - rows.double()).abs().amax(dim=1)
    assert float(moved.max()) <= epsilon and bool((moved[~found.broken] == 0).all())


@pytest.mark.parametrize(("norm", "epsilon"), [("l2", 0.1), ("l1", 0.2)])
def test_other_norms_beside_the_closed_form(norm, epsilon):
    model = linear()
    rows, labels = rows_for(model)
    expected = int((distance_to_boundary(model, rows, norm) > epsilon).sum())
    given = {"attack": "apgd", "norm": norm, "epsilon": epsilon, **CHEAP}
    found = mlexpert.attack(model, (rows, labels), **given)
    assert abs(found.robust.correct - expected) <= 4 and 0 < expected < 200
    assert found.validity["outside"] == 0


def test_what_the_result_says():
    model = linear(3)
    rows, labels = rows_for(model)
    found = mlexpert.attack(model, (rows, labels), attack="pgd", epsilon=0.03, rows=120, **QUIET)
    record = json.loads(json.dumps(found.to_dict()))
    assert record["num_rows"] == 120 and record["total_rows"] == 200 and record["part"] == "given"
    assert record["robust"]["accuracy"] == found.robust.correct / 120
    expected = binomtest(found.robust.correct, 120).proportion_ci(method="wilson")
    assert record["robust"]["interval"] == pytest.approx([expected.low, expected.high])
    first, second = record["attacks"]
    assert first["parameters"]["steps"] == 50 and first["parameters"]["restarts"] == 10
    assert first["standing_before"] == 120
    assert first["standing_after"] == second["standing_before"]
    assert second["standing_after"] == found.robust.correct
    assert [point["epsilon"] for point in record["sweep"]] == pytest.approx(
        [0.0, 0.0075, 0.015, 0.03, 0.045, 0.06]
    )
    assert record["trained"] is None and record["corruptions"] == []
    assert np.array(record["landscape"]["losses"]).shape == (11, 11)
    assert set(record["validity"]) == {"largest", "lowest", "highest", "outside"}
    text = str(found)
    assert "robust accuracy" in text and found.verdict in text and "PGD" in text
    assert len(found.adversarial) == len(found.broken) == 120 and found.path is None


def test_seeds_decide_and_batches_do_not():
    model = linear(4)
    rows = rows_for(model)
    given = {"attack": "pgd", "steps": 5, "restarts": 2, "epsilon": 0.02, "rows": 90, **CHEAP}
    first = mlexpert.attack(model, rows, **given)
    again = mlexpert.attack(model, rows, **given)
    cut = mlexpert.attack(model, rows, batch_size=31, **given)
    other = mlexpert.attack(model, rows, seed=1, **given)
    assert torch.equal(first.adversarial, again.adversarial)
    assert torch.equal(first.broken, cut.broken)
    assert not torch.equal(first.adversarial, other.adversarial)


def test_everything_is_as_it_was():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    model[1].eval()
    rows = rows_for(linear(3), 40)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    with pytest.warns(UserWarning, match="training mode"):
        found = mlexpert.attack(model, rows, attack="quick", epsilon=0.05, **QUIET)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not model[0].weight.requires_grad and model[3].weight.requires_grad
    assert torch.equal(model[3].weight.grad, torch.ones(3, 8))
    assert torch.equal(torch.random.get_rng_state(), random)
    model.eval()
    assert (
        mlexpert.attack(model, rows, attack="quick", epsilon=0.05, **CHEAP).robust.correct
        == found.robust.correct
    )


def test_bytes_single_rows_and_rows_that_are_wrong_already():
    model = nn.Sequential(nn.Flatten(), linear(2, 16))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)
    with torch.no_grad():
        labels = model(torch.tensor(pixels) / 255).argmax(dim=1).numpy()
    found = mlexpert.attack(model.eval(), (pixels[:1], labels[:1]), epsilon=1.0, **QUIET)
    assert found.clean.correct == 1 and found.robust.correct == 0
    wrong = mlexpert.attack(model, (pixels, 1 - labels), epsilon=8 / 255, **QUIET)
    assert wrong.clean.correct == wrong.robust.correct == 0 and wrong.verdict == "suspect"
    assert {check.verdict for check in wrong.checks} == {"passed", "not measured"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epsilon": 8}, r"8/255 = 0\.0314"),
        ({"epsilon": -0.1}, "epsilon=-0.1"),
        ({"epsilon": 0}, "above 0"),
        ({"epsilon": float("nan")}, "finite"),
        ({"epsilon": True}, "epsilon=True"),
        ({}, "epsilon is missing"),
        ({"epsilon": 0.1, "norm": "linff"}, "Did you mean 'linf'"),
        ({"epsilon": 30, "norm": "l2"}, "further apart than 2.449 in l2"),
        ({"epsilon": 0.1, "attack": "pdg"}, "Did you mean 'pgd'"),
        ({"epsilon": 0.1, "steps": 7}, "steps=7 is not for attack='auto'"),
        ({"epsilon": 0.1, "attack": "pgd", "steps": 0}, "steps=0"),
        ({"epsilon": 0.1, "rows": 2.5}, "rows=2.5"),
        ({"epsilon": 0.1, "batch_size": None}, "batch_size=None"),
        ({"epsilon": 0.1, "seed": -1}, "seed=-1"),
        ({"epsilon": 0.1, "reason": "a table"}, "reason='a table' is for runs"),
        ({"epsilon": 0.1, "budgets": {"age": 1}}, "is for tables"),
        ({"epsilon": 0.1, "attack": "square", "norm": "l1"}, "'linf' and 'l2'"),
    ],
)
def test_settings_that_cannot_be_meant(given, said):
    model = linear()
    with pytest.raises(InputError, match=said):
        mlexpert.attack(model, rows_for(model), **given, **QUIET)


GOOD = torch.full((4, 6), 0.5)
LABELS = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("ds", "said"),
    [
        (None, "a pair of inputs"),
        ((GOOD * 300, LABELS), r"from 150 to 150.*divide by 255"),
        ((GOOD - 1, LABELS), r"from -0.5 to -0.5.*a layer"),
        ((GOOD * torch.nan, LABELS), "NaN or infinite"),
        ((GOOD.long(), LABELS), "torch.int64; give floats"),
        ((GOOD[:0], LABELS[:0]), r"\(0, 6\)"),
        ((GOOD, LABELS[:3]), "4 inputs and 3 labels"),
        ((GOOD, LABELS + 5), "labels run from 5 to 6, and the model has 2 outputs"),
        ((GOOD, LABELS - 1), "from -1 to 0"),
        ((GOOD, torch.eye(2)[LABELS]), r"\(4, 2\).*argmax"),
        ((GOOD, LABELS.float()), "torch.float32; give class indices"),
        ((GOOD, ["a", "b", "a", "b"]), "no array of numbers"),
        ((GOOD[:, :5], LABELS), r"does not take inputs of shape \(4, 5\)"),
    ],
)
def test_rows_that_cannot_be_meant(ds, said):
    with pytest.raises(InputError, match=said):
        mlexpert.attack(linear(), ds, epsilon=0.1, **QUIET)


class Answering(nn.Module):
    """A model that makes something of another's logits."""

    def __init__(self, make) -> None:
        super().__init__()
        self.model, self.make = linear(), make

    def forward(self, inputs: Tensor) -> Tensor:
        return self.make(self.model(inputs))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda logits: logits.softmax(1), "returns probabilities.*attack='square'"),
        (lambda logits: logits.detach(), "no gradient.*attack='square'"),
        (lambda logits: logits.log() * torch.nan, "NaN or infinite"),
        (lambda logits: logits.squeeze(0), r"shape \(2,\) for inputs \(1, 6\)"),
        (lambda logits: logits[:, :1], r"\(4, 1\)"),
    ],
)
def test_models_that_mislead_an_attack(make, said):
    with pytest.raises(InputError, match=said):
        mlexpert.attack(Answering(make).eval(), (GOOD, LABELS), epsilon=0.1, **QUIET)


@pytest.mark.parametrize("make", [lambda logits: logits.softmax(1), lambda logits: logits.detach()])
def test_queries_take_what_gradients_cannot(make):
    model = Answering(make).eval()
    rows, labels = rows_for(model.model)
    expected = distance_to_boundary(model.model, rows, "linf") > 0.05
    found = mlexpert.attack(
        model, (rows, labels), attack="square", steps=500, epsilon=0.05, **QUIET
    )
    assert not bool((found.broken & expected).any())
    assert abs(found.robust.correct - int(expected.sum())) <= 8


def test_what_is_no_model():
    with pytest.raises(InputError, match="function cannot be attacked"):
        mlexpert.attack(lambda inputs: inputs, (GOOD, LABELS), epsilon=0.1, **QUIET)


@pytest.fixture(scope="module")
def of_images(tmp_path_factory) -> Fitted:
    recipe = get("image-cls", epochs=3, batch_size=32, precision="fp32", depth=8)
    folder = tmp_path_factory.mktemp("runs") / "images"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        return recipe.fit(images(160, size=8), run_dir=folder, progress=False)


def test_a_run_of_images(of_images):
    found = mlexpert.attack(of_images, attack="quick", epsilon=0.4, **QUIET)
    assert found.part == "validation" and found.rows_seen["num_rows"] == 24
    assert found.robust.correct < found.clean.correct
    assert found.path == of_images.run_dir / "attacks" / "validation-linf-0.4.json"
    assert json.loads(found.path.read_text())["robust"]["correct"] == found.robust.correct
    assert len(found.corruptions) == 20
    pictures = load_file(found.path.with_suffix(".safetensors"))
    assert pictures["clean"].shape == pictures["adversarial"].shape and len(pictures["clean"]) <= 8
    assert (pictures["before"] == pictures["targets"]).all()
    assert (pictures["after"] != pictures["targets"]).all()
    shown = of_images.predict_proba((pictures["adversarial"] * 255).round().astype(np.uint8)[:, 0])
    assert shown.shape == (len(pictures["clean"]), 2)
    again = mlexpert.attack(of_images, attack="fgsm", epsilon=1e-6, **CHEAP)
    assert again.pictures is None and not again.path.with_suffix(".safetensors").exists()
    assert not list(found.path.parent.glob(".writing*"))


def test_clean_accuracy_is_that_of_the_most_probable_class(of_images):
    pixels, labels = images(90, size=8, seed=3)
    found = mlexpert.attack(
        of_images, (pixels, labels), attack="fgsm", epsilon=0.1, rows=None, **CHEAP
    )
    right = of_images.predict_proba(pixels).argmax(axis=1) == labels
    assert found.part == "given" and found.clean.correct == int(right.sum())


def test_the_threat_that_was_trained_for(of_images, monkeypatch):
    threat = {"norm": "linf", "epsilon": 0.2, "unit": "", "low": 0.0, "high": 1.0}
    monkeypatch.setitem(of_images.facts, "threat", threat)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mlexpert.attack(of_images, attack="fgsm", **CHEAP)
    assert found.threat["epsilon"] == 0.2 and found.checks[-1].verdict == "passed"
    with pytest.warns(UserWarning, match=r"trained for linf 0\.2 and is attacked with l2 1"):
        other = mlexpert.attack(of_images, attack="fgsm", norm="l2", epsilon=1.0, **CHEAP)
    assert other.trained == threat and "trained for linf 0.2" in other.checks[-1].detail
    with pytest.raises(InputError, match="trained for linf and norm='l2' was asked"):
        mlexpert.attack(of_images, norm="l2", **QUIET)


def test_the_test_split_is_opened_and_written_down(tmp_path):
    recipe = get("image-cls", epochs=1, batch_size=32, precision="fp32")
    fitted = recipe.fit(images(120, size=8), run_dir=tmp_path / "run", progress=False)
    for wrong in ({"epsilon": 8, "reason": "x"}, {"epsilon": 0.1, "reason": " "}):
        with pytest.raises(InputError):
            mlexpert.attack(fitted, **wrong, **QUIET)
    with pytest.raises(InputError, match="not both"):
        mlexpert.attack(fitted, images(20, 8), reason="x", epsilon=0.1, **QUIET)
    assert not (tmp_path / "run" / "ledger.jsonl").exists()  # nothing was opened
    found = mlexpert.attack(fitted, attack="fgsm", epsilon=0.1, reason="table 1", **CHEAP)
    assert found.part == "test" and found.path.name == "test-linf-0.1.json"
    ledger = (tmp_path / "run" / "ledger.jsonl").read_text()
    assert "attack: table 1" in ledger and len(ledger.splitlines()) == 1
    loaded = mlexpert.load(fitted.save(tmp_path / "model"))
    with pytest.raises(InputError, match="loaded without a run"):
        mlexpert.attack(loaded, epsilon=0.1, **QUIET)
    assert mlexpert.attack(loaded, images(20, 8), attack="fgsm", epsilon=0.1, **CHEAP).path is None


@pytest.fixture(scope="module")
def of_a_table(tmp_path_factory) -> Fitted:
    recipe = get("tabular-cls", epochs=15, batch_size=32, precision="fp32", members=4, width=16)
    rows = table(400, rare=0.5)
    is_rare = rows["bought"] == "yes"
    rows["age"] += 5 * is_rare
    rows["income"] *= 1 + 4 * is_rare
    folder = tmp_path_factory.mktemp("runs") / "table"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        return recipe.fit(rows, target="bought", run_dir=folder, progress=False)


@pytest.mark.parametrize("attack", ["quick", "pgd", "square"])
def test_a_table_moves_in_its_numeric_columns_alone(of_a_table, attack):
    steps = {"square": 300}.get(attack)
    found = mlexpert.attack(of_a_table, attack=attack, steps=steps, epsilon=0.5, **QUIET)
    rows = of_a_table.parts.network.encode(of_a_table._held.validation[0])
    clean, names = rows.rows, [column.name for column in of_a_table.schema.columns]
    moved = found.adversarial
    assert torch.equal(moved.isnan(), clean.isnan()) and bool(clean.isnan().any())
    city = names.index("city")
    assert torch.equal(moved[:, city], clean[:, city])
    for name in ("age", "income"):
        place = names.index(name)
        budget = 0.5 * of_a_table.schema.columns[place].std
        change = (moved[:, place].double() - clean[:, place].double()).abs().nan_to_num()
        assert 0 < float(change.max()) <= budget * (1 + 1e-6)
        assert found.threat["budgets"][name] == pytest.approx(budget)
    assert "city" not in found.threat["budgets"] and found.validity["outside"] == 0
    assert found.robust.correct < found.clean.correct
    assert found.corruptions == () and found.pictures is None
    assert found.threat["low"] is None and found.threat["unit"].startswith("standard deviations")


def test_budgets_of_single_columns(of_a_table):
    found = mlexpert.attack(of_a_table, attack="pgd", budgets={"age": 3.0}, **CHEAP)
    clean = of_a_table.parts.network.encode(of_a_table._held.validation[0]).rows
    change = (found.adversarial - clean).abs().nan_to_num().amax(dim=0).tolist()
    by_name = dict(zip([one.name for one in of_a_table.schema.columns], change, strict=True))
    assert 0 < by_name["age"] <= 3.0001 and by_name["income"] == by_name["city"] == 0
    assert found.path.name == "validation-linf-1.json"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "epsilon is missing.*standard deviations"),
        ({"epsilon": 0.1, "norm": "l2"}, "tables take norm='linf'"),
        ({"budgets": {"city": 1.0}}, "'city', no numeric column"),
        ({"budgets": {"agee": 1.0}}, "Did you mean 'age'"),
        ({"budgets": {"age": -1.0}}, r"budgets\['age'\]=-1.0"),
        ({"budgets": {"age": 0.0}}, "move no column"),
        ({"budgets": {"age": 1.0}, "epsilon": 0.1}, "either"),
    ],
)
def test_threats_to_tables_that_cannot_be_meant(of_a_table, given, said):
    with pytest.raises(InputError, match=said):
        mlexpert.attack(of_a_table, **given, **QUIET)


def test_models_that_cannot_be_attacked(tmp_path):
    words = get("text-cls", epochs=1, precision="fp32").fit(
        texts(), target="label", run_dir=tmp_path / "texts", progress=False
    )
    with pytest.raises(InputError, match="Words cannot be moved"):
        mlexpert.attack(words, epsilon=0.1, **QUIET)
    values = get("tabular-reg", epochs=1, precision="fp32", members=2).fit(
        numbers(), target="target", run_dir=tmp_path / "numbers", progress=False
    )
    with pytest.raises(InputError, match="predicts numbers"):
        mlexpert.attack(values, epsilon=0.1, **QUIET)


def test_an_ensemble_of_folds(tmp_path):
    recipe = get("image-cls", epochs=1, batch_size=32, precision="fp32")
    fitted = recipe.fit(images(120, size=8), folds=2, run_dir=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="trained on by all members but one"):
        mlexpert.attack(fitted, epsilon=0.1, **QUIET)
    pixels, labels = images(40, size=8, seed=5)
    found = mlexpert.attack(fitted, (pixels, labels), attack="fgsm", epsilon=0.3, **CHEAP)
    right = fitted.predict_proba(pixels).argmax(axis=1) == labels
    assert found.clean.correct == int(right.sum())


def test_a_table_without_numbers(tmp_path):
    rng, names = np.random.default_rng(0), [f"n{row % 40}" for row in range(80)]
    rows = pd.DataFrame({"city": rng.choice(["Rome", "Oslo"], 80), "name": names})
    rows["label"] = rng.choice(["x", "y"], 80)
    fitted = get("tabular-cls", epochs=1, precision="fp32", members=2).fit(
        rows, target="label", run_dir=tmp_path / "run", progress=False, leakage="report"
    )
    with pytest.raises(InputError, match="categories only"):
        mlexpert.attack(fitted, epsilon=0.1, **QUIET)
