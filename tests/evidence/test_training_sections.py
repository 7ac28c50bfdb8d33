"""How it was trained, on the report: what older runs lack, newer ones wrote, and stands out."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser

import fake_run
import fake_training
import numpy as np
import pytest
import torch
from torch import nn

from mlexpert.evidence import training_figures
from mlexpert.evidence.layers import read_layers
from mlexpert.evidence.record import read_run
from mlexpert.evidence.report import render
from mlexpert.evidence.training_sections import training
from mlexpert.training.arithmetic import Choice
from mlexpert.training.gradient_health import GradientHealth
from mlexpert.training.memory.sizing import MIB, Probe, Sizing
from mlexpert.training.phases import Profile
from mlexpert.training.trial import Arithmetic, Trial


class Words(HTMLParser):
    """The words of the section on training."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(page[page.index('<section id="training">') : page.index('<section id="setup">')])
        self.text = " ".join(self.text.split())

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path):
    return fake_run.write(tmp_path / "run", fake_run.KINDS["sealed"])


def words(run) -> str:
    return Words(render(run).read_text(encoding="utf-8")).text


def test_an_older_run_has_no_such_records(run):
    found = training(read_run(run))
    assert [found[key] for key in ("arithmetic", "memory", "health", "profile")] == [None] * 4
    assert found["cautions"] == []
    text = words(run)
    assert "Not measured: the run folder holds no health.jsonl." in text
    assert "Where time went" not in text and "health" not in read_run(run).missing


def test_all_that_went_well_is_shown(run):
    fake_training.went_well(run)
    page = render(run).read_text(encoding="utf-8")
    text = Words(page).text
    assert "bf16 is 1.71 times as fast." in text and "65.7" in text
    assert "The whole batch of 128 fits: 412 MiB of 7,012 MiB." in text
    assert "off by 1.7 %" in text
    assert "no layer stands still" in text
    assert "aten::convolution_backward4518.10" in text.replace(" ", "")
    assert "20 steps of 40.00 ms on cpu, after 5 to warm up" in text
    assert "caution" not in page[page.index('<section id="training">') :]
    assert "#00fe" not in page and len(page) < 400_000


def test_what_a_reader_has_to_know_is_said_plainly(run):
    fake_training.went_badly(run)
    text = words(run)
    assert "Memory ran out once in mid-run (DefaultCPUAllocator: <can't> allocate memory)" in text
    assert "in micro-batches of 16 rows by 2 processes" in text
    assert "BatchNorm's statistics, if the network has them, are those of each piece" in text
    assert "Activations are computed again in the backward pass" in text
    assert "too few rows for BatchNorm" in text
    assert "failed: RuntimeError: <not> implemented" in text
    assert "encoder.blocks.0.norm1 hardly moves in the last epoch" in text
    assert "head moves by more than a tenth of the weights" in text
    assert f"The network has {len(fake_training.LONG)} layers" in text


@pytest.mark.parametrize(
    ("microbatch", "processes", "shown", "is_cut"),
    [
        (128, 1, "128 rows", False),
        (32, 1, "32 rows", True),
        (None, 1, "128 rows", False),
        (None, 2, "64 rows", True),
        ("auto", 1, None, False),
    ],
)
def test_a_microbatch_that_was_asked_for(run, microbatch, processes, shown, is_cut):
    facts = json.loads((run / "run.json").read_text())
    config = {**facts["config"], "microbatch": microbatch}
    fake_training.change(run, config=config, memory={}, environment={"processes": processes})
    found = training(read_run(run))
    assert dict(found["facts"])["Micro-batch"] == shown
    assert any("BatchNorm" in sentence for sentence in found["cautions"]) == is_cut


def test_a_schedule_that_ends_at_zero_makes_no_layer_look_still(run):
    lines = []
    for epoch in range(1, 11):
        lr = math.cos(math.pi / 2 * (epoch - 1) / 9.001)
        layers = [
            {"layer": name, "gradient_norm": 1.0, "weight_norm": 1.0, "update_ratio": ratio * lr}
            for name, ratio in (("alive", 1e-3), ("dead", 5e-6))
        ]
        lines.append({"step": epoch, "epoch": epoch, "layers": layers})
    metrics = [
        {"step": line["step"], "epoch": line["epoch"] - 1, "split": "train", "loss": 1.0, "lr": lr}
        for line, lr in ((line, line["layers"][0]["update_ratio"]) for line in lines)
    ]
    (run / "health.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, metrics)))
    (sentence,) = training(read_run(run))["health"]["sentences"]
    assert sentence.startswith("dead hardly moves")
    assert lines[-1]["layers"][0]["update_ratio"] < 1e-5


def test_a_part_of_the_network_moves_as_torch_says_of_its_weights_together():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8)), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    health = GradientHealth(model)
    before = torch.cat([parameter.detach().flatten() for parameter in model[0].parameters()])
    model(torch.randn(16, 4)).square().mean().backward()
    health.before()
    optimizer.step()
    layers = read_layers([{"step": 1, "epoch": 1, "layers": health.after()}])
    after = torch.cat([parameter.detach().flatten() for parameter in model[0].parameters()])
    merged = layers.at_most(2)
    assert merged.names == ("0", "1")
    expected = (after - before).norm() / before.norm()
    assert merged.ratios[0, 0] == pytest.approx(expected.item(), rel=1e-5)
    assert merged.ratios[1, 0] == layers.ratios[2, 0]


def test_many_layers_without_parts_are_drawn_in_as_many_rows_as_there_are():
    rows = [
        {"layer": f"layer{number}", "weight_norm": 1.0, "update_ratio": None if number else 1e-3}
        for number in range(100)
    ]
    layers = read_layers([{"epoch": 1, "layers": rows}])
    merged = layers.at_most(40)
    assert len(merged.names) == 40 and merged.names[-1] == "all others"
    assert merged.ratios[0, 0] == pytest.approx(1e-3) and np.isnan(merged.ratios[1:]).all()
    assert layers.at_most(100) is layers


def test_an_epoch_that_was_begun_again_counts_once():
    rows = [
        {"epoch": epoch, "layers": [{"layer": "a", "weight_norm": 1.0, "update_ratio": ratio}]}
        for epoch, ratio in ((2, 0.2), (1, 0.1), (2, 0.3))
    ]
    layers = read_layers([*rows, {"epoch": 3}])
    assert layers.epochs.tolist() == [1, 2] and layers.ratios.tolist() == [[0.1, 0.3]]


def test_the_figure_holds_every_layer_and_survives_zeros_and_gaps():
    names = [f"blocks.{number}.<attention>" for number in range(40)]
    rows = [
        {
            "epoch": epoch,
            "layers": [
                {"layer": name, "weight_norm": 1.0, "update_ratio": value}
                for name, value in zip(names, [0.0, None, 50.0, *[1e-3] * 37], strict=True)
            ],
        }
        for epoch in range(1, 101)
    ]
    figure = training_figures.update_ratios(read_layers(rows))
    assert all(f"blocks.{number}.&lt;attention&gt;" in figure for number in range(40))
    assert "nan" not in figure.lower() and "#00fe" not in figure
    assert len(figure) < 600_000


@pytest.mark.parametrize("name", ["health.jsonl", "profile/profile.json"])
def test_a_broken_file_costs_only_its_part(run, name):
    fake_training.change(run, names=fake_training.SHORT, profile=True)
    (run / name).write_bytes(b'{"half a li')
    text = words(run)
    assert ("no health.jsonl" in text) == (name == "health.jsonl")
    assert ("Where time went" in text) == (name == "health.jsonl")


def test_the_section_reads_what_the_trainer_writes(run):
    probe = Probe(4, fits=True, measured=30 * MIB, predicted=20 * MIB, expected=24 * MIB)
    sizing = Sizing(4, 8, 99 * MIB, 30 * MIB, 24 * MIB, (probe,), "micro-batches of 4 fit")
    plain, fast = Arithmetic("fp32"), Arithmetic("bf16")
    trials = (Trial(plain, 0.002, 1.0, 0.0, 1.0), Trial(fast, error="ValueError: no\nmore"))
    profile = Profile(run, torch.device("cpu"), num_steps=3)
    for _ in range(3):
        with profile("forward"):
            torch.ones(3) @ torch.ones(3)
        profile.step()
    profile.close()
    arithmetic = Choice(plain, "fp32: as it is", trials).record()
    fake_training.change(run, memory=sizing.record(), arithmetic=arithmetic)
    found = training(read_run(run))
    (shown,) = found["memory"]["probes"]
    assert shown == {
        "size": 4, "chosen": True, "predicted": 20.0, "expected": 24.0, "measured": 30.0,
        "fits": "fits",
    }  # fmt: skip
    assert found["memory"]["error_percent"] is None, "30 MiB are nothing to worry about"
    assert [row["name"] for row in found["arithmetic"]["trials"]] == ["fp32", "bf16"]
    assert found["arithmetic"]["trials"][0]["ms"] == pytest.approx(2.0)
    assert found["arithmetic"]["trials"][1]["error"] == "ValueError: no"
    assert {row["phase"] for row in found["profile"]["phases"]} >= {"forward", "other"}
    assert found["profile"]["operators"]
    assert "Where time went" in words(run)
