"""The tasks: which data, who is measured on them, how often, and with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MODERN, NANOGPT = "language-model", "language-model/nanogpt"
FP32 = f"{NANOGPT}, fp32"
LOOP, TRAINER = "nanoGPT's loop, rewritten", "GPT-2 of transformers in its Trainer"
SOLVED = "forecasting"
NLINEAR, DLINEAR, PATCHTST, ITRANSFORMER = (
    f"{SOLVED}/{name}" for name in ("nlinear", "dlinear", "patchtst", "itransformer")
)
NF_NLINEAR, NF_PATCHTST = "NLinear (neuralforecast)", "PatchTST (neuralforecast)"
LAST, SEASON = "last value", "the season before"
CLASSIFIER, ROCKET, DTW = "sequence-cls", "ROCKET (aeon)", "1-NN DTW (aeon)"
SOLVED_CLASSIFIER = "sequence-cls/multirocket"
HELD_SPEAKERS = "fsdd-speakers"
TAGGER, TRANSDUCER = "sequence-tagging", "seq2seq"
ATTENTION, SSD = "SDPA + MLP", "SSD"
MIXERS = (ATTENTION, SSD, "S4D", "LSTM", "convolution")
Kind = Literal[
    "language", "speed", "forecast", "audio", "series", "tags", "generation", "pairs", "mixers"
]


@dataclass(frozen=True)
class Measured:
    """Data, and who is measured on them.

    Attributes:
        title: On the page.
        kind: What is measured, and how.
        methods: Who is measured, and on how many seeds, folds or rounds, from 0.
        fields: Of all recipes. Rivals take sizes and steps from here.
        own: Of one recipe, by name.
        about: What else says which data are read, and how.
        published: By method, as the papers print it.
        in_turn: Whether methods take turns within a round, so that they meet the same machine.
        note: What a reader has to know.
    """

    title: str
    kind: Kind
    methods: Mapping[str, int]
    fields: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    in_turn: bool = False
    note: str = ""

    def fields_of(self, method: str, seed: int) -> dict[str, Any]:
        """Return the fields of one of our recipes on a seed."""
        # Folds differ by their rows and rounds by the machine; seeds by what is drawn.
        drawn = 0 if self.kind in ("audio", "series") else seed
        return {"seed": drawn, "test": 0.0, **self.fields, **self.own.get(method, {})}

    def keys(self) -> dict[str, range]:
        """Return who is measured, and on which seeds."""
        return {name: range(count) for name, count in self.methods.items()}


def is_ours(method: str) -> bool:
    """Return whether a method is one of mlexpert's recipes."""
    families = (MODERN, SOLVED, CLASSIFIER, TAGGER, TRANSDUCER)
    return recipe_of(method).split("/")[0] in families


def recipe_of(method: str) -> str:
    """Return the recipe's name of one of our methods, which may say more behind a comma."""
    return method.split(",")[0]


SMALL = {"num_layers": 4, "num_heads": 4, "dim": 128, "context": 64, "batch_size": 12}
LARGE = {"num_layers": 6, "num_heads": 6, "dim": 384, "context": 256, "batch_size": 4}


def _speed(title: str, size: Mapping[str, int], steps: int) -> Measured:
    return Measured(
        title,
        "speed",
        dict.fromkeys((NANOGPT, FP32, LOOP), 5),
        fields={**size, "steps": steps, "epochs": 1, "keep": "last"},
        own={FP32: {"precision": "fp32"}},
        in_turn=True,
        note=f"{steps} steps of batch {size['batch_size']}, block {size['context']}.",
    )


def _forecast(
    title: str,
    file: str,
    horizon: int,
    *,
    context: int = 336,
    rows: tuple[int, int, int] | None = None,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    counts: Mapping[str, int] | None = None,
    period: int = 24,
    lr: float = 5e-3,
    published: Mapping[str, str] | None = None,
) -> Measured:
    """Return a task of forecasting.

    Args:
        title: Of the data.
        file: Its name without the ending.
        horizon: Steps to forecast.
        context: Steps to look back at.
        rows: Of train, validation and test; None: 70/10/20 %.
        own: Fields of one recipe beside `lr`, by name.
        counts: Who else is measured, and how often; or which of ours more often than once.
        period: Steps of a season.
        lr: Of the linear ones that are trained, ours and the rival's.
        published: MSE / MAE by method.
    """
    split = "12/4/4 months of 30 days" if rows else "70/10/20 %"
    ours = {SOLVED: 1, NLINEAR: 1, DLINEAR: 1, PATCHTST: 1, ITRANSFORMER: 1}
    return Measured(
        f"{title}, {horizon} steps",
        "forecast",
        {**ours, **(counts or {}), LAST: 1, SEASON: 1},
        fields={"context": context, "horizon": horizon},
        own={NLINEAR: {"lr": lr}, DLINEAR: {"lr": lr}, **(own or {})},
        about={"file": file, "rows": rows, "period": period, "lr": lr},
        published=published or {},
        note=f"Split {split}, look-back {context}; every test window, in deviations of train.",
    )


MONTHS = (8640, 2880, 2880)
AT_TARGET = {PATCHTST: 3, NF_NLINEAR: 1, NF_PATCHTST: 1}
"""Where a target speaks of PatchTST."""
LINEAR_ALONE = {NF_NLINEAR: 1}
H2_LR = 0.05
"""As the scripts of DLinear's authors have it."""
TASKS: dict[str, Measured] = {
    "tiny-shakespeare": Measured(
        "Tiny Shakespeare, characters",
        "language",
        {MODERN: 3, NANOGPT: 3, LOOP: 3, TRAINER: 1},
        fields={**SMALL, "steps": 2000, "keep": "last"},
        about={"train": "tinyshakespeare.txt.gz", "lr": 1e-3},
        published={LOOP: "1.88 (20 random batches)"},
        note="First 90 % train, last 10 % validation, which is scored as a whole after the last "
        "step; nothing is chosen on it. The sizes and steps are nanoGPT's for a CPU.",
    ),
    "wikitext-2": Measured(
        "WikiText-2, byte pairs, a short one",
        "language",
        {MODERN: 1, TRAINER: 1},
        fields={
            "num_layers": 4,
            "num_heads": 4,
            "dim": 192,
            "context": 128,
            "batch_size": 12,
            "steps": 1000,
            "tokenizer": "bpe",
            "vocab_size": 4096,
            "keep": "last",
        },
        about={
            "train": "wikitext2_train.txt.gz",
            "validation": "wikitext2_valid.txt.gz",
            "test": "wikitext2_test.txt.gz",
            "lr": 1e-3,
        },
        note="The official test part, whole. Both have the byte pairs that were learned on train, "
        "4,096 of them. Perplexity by word: exp(nats / words), where the end of a line counts as "
        "a word, as in the literature.",
    ),
    "speed-128": _speed("Speed, 4 layers, 128 wide", SMALL, 200),
    "speed-384": _speed("Speed, 6 layers, 384 wide", LARGE, 60),
    "etth1-96": _forecast(
        "ETTh1",
        "ETTh1",
        96,
        rows=MONTHS,
        counts=AT_TARGET,
        published={NLINEAR: ".374 / .394", DLINEAR: ".375 / .399", PATCHTST: ".375 / .399"},
    ),
    "etth1-192": _forecast(
        "ETTh1",
        "ETTh1",
        192,
        rows=MONTHS,
        counts=LINEAR_ALONE,
        published={NLINEAR: ".408 / .415", DLINEAR: ".405 / .416", PATCHTST: ".414 / .421"},
    ),
    "etth2-96": _forecast(
        "ETTh2",
        "ETTh2",
        96,
        rows=MONTHS,
        counts=LINEAR_ALONE,
        lr=H2_LR,
        published={NLINEAR: ".277 / .338", DLINEAR: ".289 / .353", PATCHTST: ".274 / .336"},
    ),
    "etth2-192": _forecast(
        "ETTh2",
        "ETTh2",
        192,
        rows=MONTHS,
        counts=LINEAR_ALONE,
        lr=H2_LR,
        published={NLINEAR: ".344 / .381", DLINEAR: ".383 / .418", PATCHTST: ".339 / .379"},
    ),
    "exchange-96": _forecast("Exchange rates", "exchange_rate", 96, counts=LINEAR_ALONE, period=7),
    "ili-24": _forecast(
        "Influenza-like illness",
        "national_illness",
        24,
        context=104,
        counts=LINEAR_ALONE,
        period=52,
        own={PATCHTST: {"patch": 24, "stride": 2}},
    ),
    "fsdd": Measured(
        "Free Spoken Digits, the official split",
        "audio",
        {CLASSIFIER: 3, SOLVED_CLASSIFIER: 3},
        fields={"sampling_rate": 8000},
        note="Takes 0 to 4 of each speaker and digit are the test, 300 recordings.",
    ),
    HELD_SPEAKERS: Measured(
        "Free Spoken Digits, a speaker held out",
        "audio",
        {CLASSIFIER: 6, SOLVED_CLASSIFIER: 6},
        fields={"sampling_rate": 8000},
        note="Each of six speakers is the test of one line, 500 recordings, and train has none of "
        "them. Validation is a random part of the other five.",
    ),
    "ucr": Measured(
        "Time series of the UCR and UEA archives, and indoor movement",
        "series",
        dict.fromkeys((CLASSIFIER, SOLVED_CLASSIFIER, ROCKET, DTW), 7),
        note="A line for each set, on its official split; IndoorMovement trains on environments 1 "
        "and 2 and is tested on 3, the heterogeneous setting of its authors.",
    ),
    "ud-ewt": Measured(
        "UD English EWT, parts of speech",
        "tags",
        {TAGGER: 3},
        about={"file": "ud_ewt", "target": "upos"},
        published={TAGGER: "95 to 96 (BiLSTMs)"},
        note="The official splits; validation chooses the epoch, test is scored once.",
    ),
    "wnut-17": Measured(
        "WNUT-17, entities",
        "tags",
        {TAGGER: 3},
        about={"file": "wnut17", "target": "ner_tags"},
        published={TAGGER: "F1 41.9 (best of the shared task)"},
        note="The official splits; validation chooses the epoch, test is scored once.",
    ),
    "generation": Measured(
        "Generation of 512 tokens, cached against uncached",
        "generation",
        dict.fromkeys((MODERN, NANOGPT), 3),
        fields={**SMALL, "context": 512, "batch_size": 4, "steps": 60, "keep": "last"},
        in_turn=True,
        note="One text, greedy, fp32. Uncached: the model reads everything again for each token. "
        "The logits that are compared are of the same tokens.",
    ),
    "mixers": Measured(
        "Token mixers",
        "mixers",
        dict.fromkeys(MIXERS, 1),
        note="By `mixers.py`: forward and backward at T = 1024, B = 1, D = 128; each in turn with "
        "attention, in one process, the median of 15 rounds.",
    ),
    **{
        f"seq2seq-{name}": Measured(
            title,
            "pairs",
            {TRANSDUCER: 1},
            about={"rule": name},
            note="10,000 pairs to train on; 1,000 made with another seed are the test, without "
            "those whose source train has.",
        )
        for name, title in (
            ("reverse", "Strings, from behind"),
            ("sort", "Strings, their letters sorted"),
            ("grapheme", "Made-up words, their sounds"),
        )
    },
}
