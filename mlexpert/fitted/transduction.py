"""A fitted model that makes one sequence of another."""

from __future__ import annotations

from typing import Any

from mlexpert.data.examples import Examples
from mlexpert.data.sequences.transduction_pairs import sequences_of
from mlexpert.errors import InputError
from mlexpert.families.transduction import TransductionRecipe
from mlexpert.fitted.sequences import SequenceFitted


class FittedTransducer(SequenceFitted):
    """What `get("seq2seq").fit(ds)` returns."""

    def predict(  # type: ignore[override]
        self,
        x: Any,
        *,
        beam: int = 1,
        length_penalty: float = 0.6,
        max_length: int | None = None,
    ) -> list[Any]:
        """Return what is said of each source: strings where training had such targets, else lists.

        Sources may be longer than those of training; the answers are then worth less. What training
        does not have among sources is read as unknown.

        Args:
            x: Sources, strings or lists of strings; an empty one is allowed.
            beam: Answers that are built side by side, of which the best is taken; 1 takes the
                likeliest symbol at each place.
            length_penalty: With a beam, the exponent by which long answers are favoured; 0 compares
                their probabilities.
            max_length: Most symbols of an answer. None: about twice those of training, or twice the
                longest source.

        Raises:
            InputError: If sources are anything else (the row is named), or a number is refused.
        """
        for name, value in (("beam", beam), ("max_length", max_length)):
            is_whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if value is not None and not is_whole:
                raise InputError(f"{name}={value!r}; it takes a whole number of 1 or more.")
        if not 0 <= length_penalty < float("inf"):
            raise InputError(f"length_penalty={length_penalty!r}; it takes 0 or more.")
        assert isinstance(self.recipe, TransductionRecipe), "made for these alone"
        rows = sequences_of(x, self.recipe.unit)
        if not len(rows):
            return []
        said = self.recipe.answers(
            self.parts,
            Examples(kind="words", inputs=rows, objective="transduction"),
            self.schema,
            beam=beam,
            length_penalty=length_penalty,
            max_length=max_length,
        )
        return self.recipe.in_user_terms(said, self.schema)
