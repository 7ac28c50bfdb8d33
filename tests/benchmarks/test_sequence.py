"""The sequence benchmark's page says what its lines say, and its targets are judged well."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mlexpert.recipes import get, names
from tests.benchmarks.lines import BENCHMARKS, Load, committed_lines, line, modules_of, state

FOLDER = BENCHMARKS / "sequence"
MODERN, NANOGPT, FP32 = "language-model", "language-model/nanogpt", "language-model/nanogpt, fp32"
LOOP, CLASSIFIER, TAGGER = "nanoGPT's loop, rewritten", "sequence-cls", "sequence-tagging"
SOLVED, ROCKET, DTW = "sequence-cls/multirocket", "ROCKET (aeon)", "1-NN DTW (aeon)"


@pytest.fixture
def load() -> Iterator[Load]:
    with modules_of(FOLDER) as load:
        yield load


def test_the_page_is_made_from_its_lines(load, tmp_path: Path) -> None:
    lines = committed_lines(FOLDER)
    assert len({(row["task"], row["method"], row["seed"]) for row in lines}) == len(lines)
    load("page").write_page(lines, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (FOLDER / "results.md").read_text()


def test_every_line_is_of_a_run_that_is_planned(load) -> None:
    tasks = load("protocol").TASKS
    for row in committed_lines(FOLDER):
        assert row["seed"] in tasks[row["task"]].keys()[row["method"]]


def test_every_recipe_takes_the_fields_of_its_tasks(load) -> None:
    protocol, there = load("protocol"), set(names())
    for task in protocol.TASKS.values():
        for method in filter(protocol.is_ours, task.methods):
            assert protocol.recipe_of(method) in there
            fields = task.fields_of(method, 3)
            recipe = get(protocol.recipe_of(method), **fields)
            assert all(getattr(recipe, key) == value for key, value in fields.items())


def test_every_bound_is_of_a_method_that_is_measured(load) -> None:
    tasks = load("protocol").TASKS
    for bound in load("targets").BOUNDS:
        assert bound.method in tasks[bound.task].methods


def test_every_mixer_that_is_planned_is_there(load) -> None:
    assert set(load("protocol").MIXERS) <= set(load("mixers").MIXERS)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ((1.58, 1.61, 1.61), "met"),
        ((1.60, 1.61, 1.60), "**missed**"),
        ((1.50, 1.50), "not measured"),
        ((), "not measured"),
    ],
)
def test_a_bound_is_of_the_mean_and_needs_all_seeds(load, losses, said: str) -> None:
    lines = [line("tiny-shakespeare", MODERN, seed, loss=one) for seed, one in enumerate(losses)]
    found, text = state(load, lines, f"`{MODERN}`: loss of the full pass at most 1.6")
    assert found == said
    if losses:
        assert text.startswith(f"{np.mean(losses):.4f} ± ")
        assert text.endswith(f"n = {len(losses)}")


@pytest.mark.parametrize(
    ("mse", "said"),
    [(0.3744, "met"), (0.3746, "**missed**"), (0.30, "met")],
)
def test_forecasts_are_compared_at_the_digits_that_are_published(load, mse, said: str) -> None:
    lines = [line("etth1-96", "forecasting", 0, mse=mse)]
    assert state(load, lines, "96 steps, `forecasting`: MSE at most 0.374")[0] == said


@pytest.mark.parametrize(
    ("mse", "said"), [(0.381, "met"), (0.369, "met"), (0.36, "**missed**"), (0.39, "**missed**")]
)
def test_a_reproduction_is_bounded_from_both_sides(load, mse: float, said: str) -> None:
    lines = [line("etth1-96", "forecasting/dlinear", 0, mse=mse)]
    assert state(load, lines, "`forecasting/dlinear`: MSE 0.369 to 0.381")[0] == said


@pytest.mark.parametrize(
    ("accuracies", "said"), [((0.9,) * 6, "met"), ((0.87,) * 6, "**missed**"), ((1.0,) * 5, None)]
)
def test_held_out_speakers_are_all_needed(load, accuracies, said: str | None) -> None:
    lines = [line("fsdd-speakers", CLASSIFIER, n, accuracy=one) for n, one in enumerate(accuracies)]
    assert state(load, lines, f"a speaker held out, `{CLASSIFIER}`: right, %, mean over speakers")[
        0
    ] == (said or "not measured")


def test_the_modern_model_is_compared_with_nanogpt_seed_by_seed(load) -> None:
    """By hand: 130 / 100 and 120 / 100 CPU seconds, and 1.1 % more parameters in one seed."""
    lines = []
    for seed, seconds in enumerate((130.0, 120.0, 150.0)):
        lines.append(
            line(
                "tiny-shakespeare",
                MODERN,
                seed,
                loop_cpu_seconds=seconds,
                parameters=1011 if seed else 1000,
            )
        )
        plain = {"loop_cpu_seconds": 100.0, "parameters": 1000}
        lines.append(line("tiny-shakespeare", NANOGPT, seed, **plain))
    assert state(load, lines, "times the CPU seconds") == ("met", "1.30 (1.20 to 1.50), 3 rounds")
    assert state(load, lines, "as many parameters")[0] == "**missed**"
    assert state(load, lines[:4], "times the CPU seconds")[0] == "not measured"


def rounds(task: str, plain: float, loss: float = 2.0, count: int = 5) -> list[dict]:
    """Return rounds in which ours takes 10 CPU seconds, and the loop `plain`."""
    lines = []
    for number in range(count):
        for name, seconds, said in ((NANOGPT, 10.0, loss), (FP32, 13.0, 2.0), (LOOP, plain, 2.1)):
            lines.append(line(task, name, number, loop_cpu_seconds=seconds, loss=said))
    return lines


def test_speed_is_the_median_over_rounds_beside_the_loop(load) -> None:
    words = "128 wide: at least 1.3 times as fast"
    assert state(load, rounds("speed-128", 13.0), words) == ("met", "1.30 (1.30 to 1.30), 5 rounds")
    assert state(load, rounds("speed-128", 12.9), words)[0] == "**missed**"
    assert state(load, rounds("speed-128", 30.0, count=4), words)[0] == "not measured"
    assert state(load, rounds("speed-384", 19.0), "384 wide: at least 2")[0] == "**missed**"


@pytest.mark.parametrize(("loss", "said"), [(2.019, "met"), (1.979, "**missed**")])
def test_half_precision_may_not_change_the_loss(load, loss: float, said: str) -> None:
    lines = rounds("speed-384", 20.0, loss)
    assert state(load, lines, "384 wide: a loss within 0.02")[0] == said


def errors(**by_method: float) -> list[dict]:
    return [
        line("ucr", method, seed, error=error, fold=f"set {seed}")
        for method, error in by_method.items()
        for seed in range(7)
    ]


@pytest.mark.parametrize(
    ("ours", "beside_rocket", "beside_dtw"),
    [(0.05, "met", "met"), (0.06, "met", "**missed**"), (0.0601, "**missed**", "**missed**")],
)
def test_series_are_judged_on_sets_that_both_have(load, ours, beside_rocket, beside_dtw) -> None:
    lines = errors(**{SOLVED: ours, ROCKET: 0.05, DTW: 0.06})
    assert (
        state(load, lines, f"`{SOLVED}`: mean error, %, at most {ROCKET}'s and 1 point")[0]
        == beside_rocket
    )
    assert state(load, lines, f"`{SOLVED}`: mean error, %, less than {DTW}'s")[0] == beside_dtw
    assert state(load, lines, f"`{CLASSIFIER}`: mean error, %, less than") == ("not measured", "")
    # A set less of one: the others alone are compared, and the target is open.
    lines = [row for row in lines if (row["method"], row["seed"]) != (ROCKET, 6)]
    assert state(load, lines, f"`{SOLVED}`: mean error, %, at most {ROCKET}'s and 1 point") == (
        "not measured",
        f"{100 * ours:.2f} beside 5.00, 6 sets",
    )


@pytest.mark.parametrize(("apart", "said"), [(9e-6, "met"), (2e-5, "**missed**")])
def test_the_cache_has_to_give_the_same_logits_each_time(load, apart: float, said: str) -> None:
    lines = [
        line("generation", MODERN, n, ratio=6.0, difference=apart if n else 0.0) for n in range(3)
    ]
    assert state(load, lines, "logits equal to")[0] == said
    assert state(load, lines, "at least 5 times as fast") == (
        "met",
        "6.00 (6.00 to 6.00), 3 rounds",
    )


def test_the_page_has_published_figures_folds_and_what_is_missing(load, tmp_path: Path) -> None:
    lines = [
        line("etth1-96", "forecasting/nlinear", 0, mse=0.3718, mae=0.3931, windows=2785,
             rows=[8640, 2880, 2880], loop_cpu_seconds=3.9),
        *errors(**{CLASSIFIER: 0.05, ROCKET: 0.04}),
        *rounds("speed-128", 13.0),
        line("wikitext-2", MODERN, 0, loss=4.0, word_perplexity=250.4, arithmetic="bf16"),
    ]  # fmt: skip
    load("page").write_page(lines, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| `forecasting/nlinear` | 1 | .374 / .394 | 0.3718 | 0.3931 | 3.9 |" in page
    assert "Rows of each part: 8,640, 2,880, 2,880. Test windows: 2,785." in page
    assert "| set 6 | 5.00 | 4.00 |" in page
    assert f"| {LOOP} | 5 | 13.0 | 2.1000 ± 0.0000 |  |" in page
    assert "1.30 (1.30 to 1.30) |" in page
    assert f"| `{MODERN}` | 1 | 4.0000 | 250 | bf16 |" in page
    assert "## Not measured" in page and "Token mixers" in page.split("## Not measured")[1]


def test_a_page_without_a_line_says_that_nothing_was_measured(load, tmp_path: Path) -> None:
    load("page").write_page([], tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert page.count("| not measured |") == len(load("targets").targets(pd.DataFrame()))


def test_unknown_tasks_and_methods_are_refused(load, capsys: pytest.CaptureFixture[str]) -> None:
    run = load("run")
    for arguments, said in (
        (["--task", "etth3-96"], "invalid choice: 'etth3-96'"),
        (["--method", "LSTM of mine"], "no method 'LSTM of mine'"),
    ):
        with pytest.raises(SystemExit):
            run.options_of(arguments)
        assert said in capsys.readouterr().err


def test_a_run_goes_on_where_it_stopped_and_rounds_are_in_turn(
    load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = load("run")
    monkeypatch.setattr(load("peers"), "FOLDER", tmp_path)  # nothing is installed
    options = run.options_of(["--task", "speed-128", "--task", "ucr", "--seeds", "2"])
    every = run.todo_list(options, [])
    assert [one.method for one in every] == [NANOGPT, FP32, LOOP] * 2 + [CLASSIFIER] * 2 + [
        SOLVED
    ] * 2
    left = run.todo_list(options, [line("speed-128", LOOP, 1)])
    assert set(every) - set(left) == {run.Todo("speed-128", LOOP, 1)}


def test_the_rewritten_model_is_causal_and_starts_undecided(load) -> None:
    rivals = load("rivals_language")
    torch.manual_seed(0)
    model = rivals.Gpt(65, 64, 128, 4, 4)
    by_hand = (65 + 64) * 128 + 4 * (12 * 128**2 + 2 * 128) + 128
    assert sum(one.numel() for one in model.parameters()) == by_hand
    tokens = torch.randint(65, (2, 64))
    with torch.no_grad():
        logits = model(tokens)
        changed = tokens.clone()
        changed[:, 40:] = (changed[:, 40:] + 1) % 65
        assert torch.allclose(model(changed)[:, :40], logits[:, :40], atol=1e-6)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert float(loss) == pytest.approx(math.log(65), abs=0.2)


def test_a_full_pass_scores_every_token_but_the_first_once(load) -> None:
    """A model that knows how often each token follows costs what counting says."""
    tokens = torch.randint(5, (1000,), generator=torch.Generator().manual_seed(0))
    log_chances = torch.rand(5, 5, generator=torch.Generator().manual_seed(1)).log_softmax(dim=1)
    expected = -sum(float(log_chances[a, b]) for a, b in pairwise(tokens))
    for context in (7, 64, 999, 2000):
        found = load("rivals_language").full_pass(lambda x: log_chances[x], tokens, context)
        assert found == pytest.approx(expected, rel=1e-6)


def test_the_rate_rises_and_falls_to_a_tenth(load) -> None:
    factor = load("rivals_language").factor
    rates = [factor(step, 2000) for step in range(2000)]
    assert max(rates) == rates[100] == 1.0
    assert rates[0] == pytest.approx(1 / 101)
    assert rates[-1] == pytest.approx(0.1, abs=1e-5)


def test_forecasts_by_hand_are_those_of_a_loop(load) -> None:
    reading, rivals = load("reading"), load("rivals_forecasts")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"date": pd.date_range("2024", periods=90), "a": rng.normal(size=90)})
    rows = reading.Series(table[:50], table[50:60], table[50:])
    mean, std = table["a"][:50].mean(), table["a"][:50].std(ddof=0)
    values = ((table["a"][50:] - mean) / std).to_numpy()
    for method, said in (
        ("last value", lambda past: [past[-1]] * 8),
        ("the season before", lambda past: [past[-5 + step % 5] for step in range(8)]),
    ):
        off = [
            np.array(said(values[n : n + 10])) - values[n + 10 : n + 18]
            for n in range(len(values) - 17)
        ]
        found = rivals.by_hand(method, rows, 10, 8, 5)
        assert found["mse"] == pytest.approx(np.square(off).mean())
        assert found["mae"] == pytest.approx(np.abs(off).mean())
        assert found["windows"] == 40 - 17


def test_generation_with_a_cache_is_that_without(load) -> None:
    """On a model of tokens that adds up what it has read."""

    class Sums:
        def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(tokens.cumsum(1) % 7 + 1, 9).float()

        def init_state(self, batch_size: int, max_length: int) -> torch.Tensor:
            return torch.zeros(batch_size, dtype=torch.int64)

        def read(self, tokens, state):
            state = state + tokens.sum(1)
            return torch.nn.functional.one_hot(state % 7 + 1, 9).float(), state

    speed = load("speed")
    cached, uncached = (run(Sums(), [0], 20) for run in (speed.with_cache, speed.without_cache))
    assert cached[0] == uncached[0] and cached[0][:4] == [0, 1, 2, 4]
    assert torch.equal(cached[1], uncached[1])


def test_series_are_padded_behind_and_turned(load) -> None:
    rivals = load("rivals_series")
    series = [np.ones((3, 2), dtype=np.float32), np.full((5, 2), 2.0, dtype=np.float32)]
    assert rivals.padded(series, 6).sum(axis=(1, 2)).tolist() == [6.0, 20.0]
    assert rivals.padded(series, 6).shape == (2, 2, 6)
    assert [one.shape for one in rivals.collection(series)] == [(2, 3), (2, 5)]
    assert rivals.collection(series[:1] * 2).shape == (2, 2, 3)


def test_test_pairs_are_none_of_those_trained_on(load) -> None:
    train, test = load("reading").read_pairs("sort", smoke=True)
    assert len(train[0]) == 200 and len(test[0]) == len(test[1]) > 20
    assert not set(train[0]) & set(test[0])
    assert test[1] == ["".join(sorted(one)) for one in test[0]]
