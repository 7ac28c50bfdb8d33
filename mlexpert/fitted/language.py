"""A fitted language model: asked to go on with a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mlexpert.blocks.decoding.continuing import continued
from mlexpert.data.sequences.text_codec import BOUNDARY, UNKNOWN, TextCodec
from mlexpert.errors import InputError
from mlexpert.families.language import LanguageRecipe, codec_of
from mlexpert.fitted.sequences import SequenceFitted


class FittedLanguageModel(SequenceFitted):
    """What `get("language-model").fit(ds)` returns."""

    @property
    def codec(self) -> TextCodec:
        """What turns texts into tokens and back."""
        assert self.schema.text is not None, "texts were described"
        return codec_of(self.schema.text.tokenizer)

    def generate(
        self,
        prompt: str = "",
        max_new_tokens: int = 500,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        stream: Callable[[str], None] | None = None,
    ) -> str:
        """Return the text that the model goes on with, without the prompt.

        Args:
            prompt: What it goes on with; at most `context` - 1 tokens, as one marks the beginning.
            max_new_tokens: Tokens to draw; of several training texts fewer where the model ends
                its text.
            temperature: Above 1 more at random, below 1 less; 0 takes the most probable token.
            top_k: Draw from as many of the most probable tokens.
            top_p: Draw from the most probable tokens that together hold at least this share.
            seed: The same seed gives the same text.
            stream: Called with each piece of the text as it comes.

        Raises:
            InputError: If an argument is out of range, the prompt is longer than the context, or it
                has characters that training did not.
        """
        self._check(max_new_tokens, temperature, top_k, top_p)
        if not isinstance(prompt, str):
            raise InputError(f"prompt={prompt!r}; it is a text.")
        if self.codec.kind == "characters":
            self.codec.refuse_unknown(prompt)
        read = [BOUNDARY, *self.codec.encode(prompt).tolist()]
        context = self._language.context
        if len(read) > context:
            raise InputError(
                f"the prompt has {len(read) - 1} tokens, and the model reads {context - 1} at most "
                f"(context={context}): give its end alone."
            )
        pending: list[int] = []

        def show(token: int) -> None:
            pending.append(token)
            text = self.codec.decode(pending)
            # A character of several bytes is shown once it is whole.
            if stream is not None and not text.endswith("\N{REPLACEMENT CHARACTER}"):
                stream(text)
                pending.clear()

        new = continued(
            self.parts.network.model,
            read,
            max_new_tokens=max_new_tokens,
            generator=torch.Generator().manual_seed(seed),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            until=BOUNDARY,
            forbidden=(UNKNOWN,),
            on_token=show if stream is not None else None,
        )
        if stream is not None and pending:  # the text ends within a character
            stream(self.codec.decode(pending))
        return self.codec.decode(new)

    def predict(self, x: Any) -> list[str]:  # type: ignore[override]
        """Return the most probable text that follows each prompt, of at most 100 tokens."""
        if isinstance(x, str):
            raise InputError("prompts are given in a list; generate(prompt) takes one.")
        return [self.generate(prompt, 100, temperature=0.0) for prompt in x]

    @property
    def _language(self) -> LanguageRecipe:
        assert isinstance(self.recipe, LanguageRecipe), "made for these alone"
        return self.recipe

    def _check(
        self, max_new_tokens: int, temperature: float, top_k: int | None, top_p: float | None
    ) -> None:
        for name, value, kind, holds, allowed in (
            ("max_new_tokens", max_new_tokens, int, lambda x: x >= 0, "0 or more"),
            ("temperature", temperature, float, lambda x: 0 <= x < float("inf"), "0 or more"),
            ("top_k", 1 if top_k is None else top_k, int, lambda x: x >= 1, "1 or more, or None"),
            ("top_p", 1 if top_p is None else top_p, float, lambda x: 0 < x <= 1,
             "above 0 and at most 1, or None"),
        ):  # fmt: skip
            is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
            if not is_number or not holds(value):
                raise InputError(f"{name}={value!r}; it takes {allowed}.")
