"""Going on with tokens: what was read is kept, and each new token is read by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from mlexpert.blocks.decoding.sampling import sampled


@torch.inference_mode()
def continued(
    model: nn.Module,
    tokens: Sequence[int],
    *,
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    until: int | None = None,
    forbidden: Sequence[int] = (),
    on_token: Callable[[int], None] | None = None,
) -> list[int]:
    """Return the tokens that a `TokenModel` goes on with.

    Once the model has read as many tokens as it can, the latter half of them is read again, and it
    goes on behind that: a token then has at least half the context before it.

    Args:
        model: A `TokenModel`; it is put in eval mode.
        tokens: What it goes on with, at least one and at most `context`.
        max_new_tokens: Tokens to draw.
        generator: What is drawn with.
        temperature: See `sampled`, as for the next two.
        top_k: See there.
        top_p: See there.
        until: A token that ends the text; it is left out.
        forbidden: Tokens that are never drawn.
        on_token: Called with each token.
    """
    model.eval()
    read, new = list(tokens), list[int]()
    device = next(model.parameters()).device
    context: int = model.context  # type: ignore[assignment]
    state, fresh = model.init_state(1, context), read  # type: ignore[operator]
    while len(new) < max_new_tokens:
        if state.length + len(fresh) > context:
            state, fresh = model.init_state(1, context), read[-max(1, context // 2) :]  # type: ignore[operator]
        logits, state = model.read(torch.tensor([fresh], device=device), state)  # type: ignore[operator]
        logits = logits.float().cpu()
        logits[:, list(forbidden)] = -torch.inf
        drawn = sampled(logits, generator, temperature=temperature, top_k=top_k, top_p=top_p)
        token = int(drawn)
        if token == until:
            break
        new.append(token)
        read.append(token)
        fresh = [token]
        if on_token is not None:
            on_token(token)
    return new
