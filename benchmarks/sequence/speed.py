"""What training steps cost beside nanoGPT's loop, and what the cache of generation saves."""

from __future__ import annotations

from typing import Any

import torch
from borrowed import Clock
from ours import Found, fit_timed
from protocol import Measured, is_ours
from reading import Texts
from rivals_language import by_loop

WARM_STEPS = 2
FEW = 2
"""Windows of validation of ours in a comparison of speed: the loop is spared any."""


def one_round(method: str, task: Measured, texts: Texts, fields: Found) -> Found:
    """Return the seconds of the loop of one contestant, after a few steps that are not timed.

    The steps before let ours decide once on a precision, which it remembers on a machine; what
    that took is in the line as well.
    """
    if not is_ours(method):
        about = {**task.fields, "lr": 1e-3}
        by_loop(Texts(texts.train, texts.train[:500], texts.train[:500]), about, 0, WARM_STEPS)
        found = by_loop(texts, about, fields["seed"], fields["steps"])
        del found["nats"]
        return found
    few = texts.validation[: FEW * (fields["context"] + 1)]
    ds = {"train": [texts.train], "validation": [few]}
    _, first = fit_timed(method, {**fields, "steps": WARM_STEPS}, ds)
    fitted, found = fit_timed(method, fields, ds)
    said = fitted.evaluate([texts.test])
    return {
        **found,
        "first_loop_cpu_seconds": first["loop_cpu_seconds"],
        "loss": said["loss"],
        "bits_per_byte": said["bits_per_byte"],
    }


def generated(method: str, texts: Texts, fields: Found) -> Found:
    """Return the seconds of tokens one by one, with what was read kept and read again."""
    ds = {"train": [texts.train], "validation": [texts.validation[:2000]]}
    fitted, found = fit_timed(method, fields, ds)
    model, length = fitted.parts.network.model.eval(), fields["context"]
    for run in (with_cache, without_cache):  # not timed
        run(model, [0], 8)
    clock = Clock()
    tokens, cached = with_cache(model, [0], length)
    with_seconds = clock.lap()["cpu_seconds"]
    without_cache(model, [0], length)
    without_seconds = clock.lap()["cpu_seconds"]
    again = torch.stack([step_logits(model, tokens[: n + 1]) for n in range(length)])
    return {
        **found,
        "tokens": length,
        "cached_cpu_seconds": with_seconds,
        "uncached_cpu_seconds": without_seconds,
        "ratio": without_seconds / with_seconds,
        "difference": float((cached - again).abs().max()),
        "largest_logit": float(again.abs().max()),
    }


@torch.inference_mode()
def with_cache(model: Any, tokens: list[int], length: int) -> tuple[list[int], torch.Tensor]:
    """Return the tokens read, each the most probable one, and the logits (length, V) after each."""
    tokens, logits, state = list(tokens), [], model.init_state(1, length)
    for _ in range(length):
        said, state = model.read(torch.tensor([tokens[-1:]]), state)
        logits.append(said[0])
        tokens.append(int(said[0].argmax()))
    return tokens[:-1], torch.stack(logits)


@torch.inference_mode()
def without_cache(model: Any, tokens: list[int], length: int) -> tuple[list[int], torch.Tensor]:
    """Return the same, where the model reads all tokens again for each."""
    tokens, logits = list(tokens), []
    for _ in range(length):
        logits.append(step_logits(model, tokens))
        tokens.append(int(logits[-1].argmax()))
    return tokens[:-1], torch.stack(logits)


@torch.inference_mode()
def step_logits(model: Any, tokens: list[int]) -> torch.Tensor:
    """Return the logits (V,) after the last of some tokens."""
    return model(torch.tensor([tokens]))[0, -1]
