"""Language models: exact losses and coverage, texts that go on, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mlexpert.data.examples import Examples
from mlexpert.data.sequences.text_codec import BOUNDARY
from mlexpert.errors import InputError
from mlexpert.fitted.language import FittedLanguageModel
from mlexpert.recipe import Parts
from mlexpert.recipes import get
from mlexpert.training.method import Batch
from mlexpert.training.methods.language import NextToken
from tests.small_sequences import documents

NAMES = ("language-model", "language-model/nanogpt")
SMALL = {"num_layers": 2, "num_heads": 2, "dim": 32, "context": 16, "batch_size": 8}
QUICK = {**SMALL, "steps": 20, "epochs": 2, "microbatch": None, "precision": "fp32"}
BOOK = "\n".join(documents(40))
every_recipe = pytest.mark.parametrize("name", NAMES)


def fit(name: str, ds: Any, run_dir: Path, **fields: Any) -> FittedLanguageModel:
    recipe = get(name, **{**QUICK, **fields})
    fitted = recipe.fit(ds, run_dir=run_dir, progress=False)
    assert isinstance(fitted, FittedLanguageModel)
    return fitted


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> FittedLanguageModel:
    """A model of several texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        return fit("language-model", documents(), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> FittedLanguageModel:
    """A model of one text, whose windows overlap when it is evaluated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLEXPERT_HOME", str(tmp_path_factory.mktemp("home")))
        folder = tmp_path_factory.mktemp("runs") / "run"
        return fit("language-model/nanogpt", [BOOK], folder, stride=5)


def texts(*rows: str) -> Examples:
    inputs = np.empty(len(rows), dtype=object)
    inputs[:] = rows
    return Examples(kind="text", inputs=inputs, objective="tokens")


def nats_by_hand(fitted: FittedLanguageModel, tokens: list[int], stride: int) -> list[float]:
    """Return what each next token costs, the model being asked for one at a time.

    A window ends with the context's length, then every `stride` tokens, then with the last token.
    """
    network, context = fitted.parts.network.model.eval(), fitted._language.context
    nats: list[float] = []
    with torch.no_grad():
        for place in range(1, len(tokens)):
            windows_behind = -(-max(0, place - context) // stride)
            end = min(context + windows_behind * stride, len(tokens) - 1)
            logits = network(torch.tensor([tokens[max(0, end - context) : place]]))[0, -1]
            nats.append(float(-logits.log_softmax(-1)[tokens[place]]))
    return nats


@pytest.mark.parametrize("which", ["several", "single"])
def test_evaluation_equals_a_sum_by_hand(which: str, request: pytest.FixtureRequest) -> None:
    fitted = request.getfixturevalue(which)
    text = "the cat sees a dog. the bird sees a cat."
    tokens = [BOUNDARY, *fitted.codec.encode(text).tolist()]
    stride = fitted._language.stride or 16
    by_hand = nats_by_hand(fitted, tokens, stride)
    assert stride == (16 if which == "several" else 5) and len(by_hand) == len(text)
    found = fitted.evaluate([text])
    assert found["loss"] == pytest.approx(np.mean(by_hand), abs=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))
    bits = sum(by_hand) / np.log(2) / len(text.encode())
    assert found["bits_per_byte"] == pytest.approx(bits, abs=1e-5)


@every_recipe
def test_fits_where_memory_and_precision_are_left_to_it(name: str, tmp_path: Path) -> None:
    """What is tried without data leaves nothing behind that training or generation would meet."""
    fitted = fit(name, [BOOK], tmp_path, microbatch="auto", precision="auto", steps=5)
    assert len(fitted.generate("the", 5)) == 5


def test_the_loss_of_training_is_torchs_cross_entropy(several: FittedLanguageModel) -> None:
    network = several.parts.network.model
    windows = torch.randint(several.schema.text.vocab_size, (5, 17))
    batch = Batch(windows, torch.full((5,), 16), torch.arange(5))
    loss = NextToken().loss(network, batch)
    logits = network(windows[:, :-1]).transpose(1, 2)
    expected = F.cross_entropy(logits, windows[:, 1:])
    torch.testing.assert_close(loss.total / loss.count, expected)
    assert loss.count == 5 * 16


@pytest.mark.parametrize("stride", [None, 5, 1])
def test_every_token_counts_once_however_windows_are_batched(
    several: FittedLanguageModel, stride: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(several._language, stride=stride)
    rows = texts(*documents(5, seed=3))
    said = recipe.said(several.parts, rows, several.schema)
    assert said["tokens"].sum() == sum(len(text) + 1 for text in rows.inputs)
    assert said["bytes"].sum() == sum(len(text.encode()) for text in rows.inputs)
    monkeypatch.setattr("mlexpert.families.language.AT_ONCE", 17)
    alone = recipe.said(several.parts, rows, several.schema)
    assert alone.keys() == said.keys()
    for key in said:
        np.testing.assert_allclose(alone[key], said[key], rtol=0, atol=1e-4)


def test_the_score_of_an_epoch_is_that_of_the_end(several: FittedLanguageModel) -> None:
    recipe, parts, schema = several._language, several.parts, several.schema
    rows = replace(texts(*documents(5, seed=3)), part="validation")
    data = recipe.encode(parts.network, rows, schema)

    def batches(size: int) -> Any:
        for index in torch.arange(len(data.targets)).split(size):
            yield Batch(data.store.take(index), data.targets[index], index)

    said = recipe.said(parts, rows, schema)
    expected = said["nats"].sum() / said["tokens"].sum()
    for size in (1, 7, 100):
        found = NextToken().examine(parts.network.model, batches(size)).scores["loss"]
        assert found == pytest.approx(expected, abs=1e-5)


def test_texts_that_fit_cost_together_what_they_cost_alone(several: FittedLanguageModel) -> None:
    """Nothing is seen across a boundary."""
    short = ["the cat", "a dog sees", "bird"]
    together = several._language.said(
        several.parts, texts(*short), replace(several.schema, num_rows=3)
    )
    network = several.parts.network.model.eval()
    boundary = torch.tensor([BOUNDARY])
    alone = 0.0
    pieces = [torch.from_numpy(several.codec.encode(text)).long() for text in short]
    row = torch.cat([torch.cat([boundary, one]) for one in pieces] + [boundary])
    with torch.no_grad():
        for one in pieces:
            given, following = torch.cat([boundary, one]), torch.cat([one, boundary])
            alone += float(F.cross_entropy(network(given[None])[0], following, reduction="sum"))
        # Windows of the context cut texts; one window of all of them does not.
        network.context = len(row)
        packed = F.cross_entropy(network(row[None, :-1])[0], row[1:], reduction="sum")
    network.context = several._language.context
    assert float(packed) == pytest.approx(alone, abs=1e-4)
    assert together["tokens"].sum() == len(row) - 1


def test_one_text_is_cut_in_its_order_and_several_at_random(tmp_path: Path) -> None:
    recipe = get("language-model", validation=0.1, test=0.2)
    splits = recipe.divide(recipe.read([BOOK]))
    test = splits.test._release()
    parts = [str(rows.inputs[0]) for rows in (splits.train, splits.validation, test)]
    assert "".join(parts) == BOOK and len(parts[0]) == pytest.approx(0.7 * len(BOOK), abs=1)
    own = recipe.divide(recipe.read({"train": [BOOK], "validation": ["the cat"]}))
    assert list(own.validation.inputs) == ["the cat"] and own.test is not None
    assert str(own.train.inputs[0]) + str(own.test._release().inputs[0]) == BOOK
    assert recipe.divide(recipe.read([BOOK])).split_fingerprint == splits.split_fingerprint
    rows = [*documents(50), documents(50)[0]]  # one text twice: on one side
    drawn = recipe.divide(recipe.read(rows))
    assert len(drawn.train) + len(drawn.validation) + len(drawn.test) == 51
    sides = [rows[0] in list(part.inputs) for part in (drawn.train, drawn.validation)]
    assert sum(sides) <= 1


def test_the_vocabulary_is_that_of_train_and_the_rest_is_unknown(tmp_path: Path) -> None:
    given = {"train": [BOOK], "validation": ["the cat: \u0416"], "test": ["a dog"]}
    fitted = fit("language-model", given, tmp_path / "run")
    assert "\u0416" not in fitted.schema.text.tokenizer and fitted.evaluate()["loss"] > 0
    with pytest.raises(InputError, match=f"the {len(set(BOOK))} characters .* '\u0416'"):
        fitted.generate("\u0416")


@pytest.mark.parametrize("which", ["several", "single"])
def test_generation_is_a_function_of_the_seed(which: str, request: pytest.FixtureRequest) -> None:
    fitted = request.getfixturevalue(which)
    pieces: list[str] = []
    first = fitted.generate("the ", 60, seed=1, stream=pieces.append)
    state = torch.random.get_rng_state()
    assert fitted.generate("the ", 60, seed=1) == first == "".join(pieces)
    assert torch.equal(state, torch.random.get_rng_state())
    assert fitted.generate("the ", 60, seed=2) != first
    greedy = fitted.generate("the ", 30, temperature=0.0)
    assert greedy == fitted.generate("the ", 30, top_k=1, seed=9)
    assert greedy == fitted.generate("the ", 30, top_p=1e-9, seed=9)
    assert fitted.predict(["the "])[0].startswith(greedy)
    assert fitted.generate("the ", 0) == "" and isinstance(fitted.generate(), str)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "the cat \u0416"}, "'\u0416'"),
        ({"prompt": "the cat sees a dog"}, r"18 tokens, and the model reads 15 .*context=16"),
        ({"prompt": None}, "prompt=None"),
        ({"max_new_tokens": -1}, "max_new_tokens=-1"),
        ({"max_new_tokens": 1.5}, "max_new_tokens=1.5"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.1}, "top_p=1.1"),
    ],
)
def test_what_generation_cannot_do_is_refused(
    several: FittedLanguageModel, arguments: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        several.generate(**arguments)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context": 0}, "context"),
        ({"steps": 0}, "steps"),
        ({"stride": 65}, "stride"),
        ({"vocab_size": 256}, "vocab_size"),
        ({"dim": 30}, "dim"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
@every_recipe
def test_fields_that_cannot_be_meant_are_refused(name: str, fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get(name, **fields)


def test_a_text_that_is_too_short_is_refused_with_its_length(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="have 14 tokens, and context=16 needs more"):
        fit("language-model", ["the cat sees. the dog"[:20]], tmp_path)
    assert not any(tmp_path.iterdir())
    with pytest.raises(InputError, match="none are left for"):
        fit("language-model", ["ab"], tmp_path)


def test_steps_are_kept_whatever_the_number_of_evaluations() -> None:
    schema = get("language-model").describe(replace(texts(BOOK), part="train"))
    for steps in (1, 7, 10, 2000):
        settled = get("language-model", steps=steps).settle(schema)
        assert settled.epochs * settled.epoch_rows == steps * settled.batch_size
    assert settled.epochs == 4


@every_recipe
def test_windows_are_drawn_anywhere_with_replacement(name: str) -> None:
    settled = get(name, **QUICK).settle(get(name).describe(replace(texts(BOOK), part="train")))
    draw = settled.order()
    starts = torch.zeros(5)
    drawn = draw(starts, 0.0, torch.Generator().manual_seed(0))
    assert len(drawn) == settled.epoch_rows and drawn.bincount(minlength=5).min() > 0
    assert torch.equal(drawn, draw(starts, 0.0, torch.Generator().manual_seed(0)))


@every_recipe
def test_the_first_loss_is_that_of_guessing_and_parameters_are_few(name: str) -> None:
    recipe = get(name)
    schema = recipe.describe(replace(texts(BOOK), part="train"))
    torch.manual_seed(0)
    parts: Parts = recipe.settle(schema).build(schema)
    network = parts.network.model.eval()
    tokens = torch.randint(schema.text.vocab_size, (4, 64))
    with torch.no_grad():
        loss = F.cross_entropy(network(tokens).transpose(1, 2), tokens.roll(-1, 1))
    assert float(loss) == pytest.approx(np.log(schema.text.vocab_size), abs=0.1)
    inside = sum(one.numel() for one in network.blocks.parameters() if one.ndim >= 2)
    assert inside == 12 * 4 * 128**2
    held = sum(one.numel() for one in network.parameters())
    optimised = sum(
        one.numel() for group in parts.optimizer.param_groups for one in group["params"]
    )
    assert held == optimised


@every_recipe
def test_a_short_text_is_learned_by_heart(name: str, tmp_path: Path) -> None:
    poem = "the quick brown fox jumps over a lazy dog, and 1 cat."
    given = {"train": [poem], "validation": [poem], "test": ["a dog"]}
    own = {"lr": 3e-3} if name.endswith("nanogpt") else {}
    with pytest.warns(UserWarning, match="leakage"):
        fitted = get(name, **{**QUICK, "steps": 240, **own}).fit(
            given, run_dir=tmp_path, progress=False, leakage="report"
        )
    assert isinstance(fitted, FittedLanguageModel)
    assert fitted.evaluate()["loss"] < 0.3
    assert fitted.generate("the quick br", 10, temperature=0.0) == "own fox ju"


@every_recipe
def test_a_few_steps_on_real_text_beat_the_frequencies_of_characters(
    name: str, tmp_path: Path, real_data: Path
) -> None:
    own = {"lr": 3e-3} if name.endswith("nanogpt") else {}
    fields = {**QUICK, "context": 32, "steps": 100, "validation": 0.02, "test": 0.0}
    file = real_data / "tinyshakespeare.txt.gz"
    fitted = get(name, **{**fields, **own}).fit(file, run_dir=tmp_path, progress=False)
    assert isinstance(fitted, FittedLanguageModel)
    recipe = fitted._language
    held = str(recipe.divide(recipe.read(file)).validation.inputs[0])
    counts = np.unique(list(held), return_counts=True)[1] / len(held)
    assert fitted.evaluate()["loss"] < -(counts * np.log(counts)).sum() - 0.2


def test_steps_are_rounded_up_to_as_many_in_every_epoch() -> None:
    recipe = get("language-model", steps=10, epochs=3, context=16)
    schema = recipe.describe(recipe.divide(recipe.read([BOOK])).train)
    settled = recipe.settle(schema)
    assert (settled.steps, settled.epochs) == (12, 3) and recipe.steps == 10
    assert settled.epoch_rows == 4 * settled.batch_size
    assert get("language-model", steps=10, context=16).settle(schema).steps == 10
