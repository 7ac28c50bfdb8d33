"""A fitted tagger: asked for the tags of words."""

from __future__ import annotations

from typing import Any

from mlexpert.data.examples import Examples
from mlexpert.data.sequences.sentences import word_lists
from mlexpert.families.tagging import TaggingRecipe
from mlexpert.fitted.sequences import SequenceFitted


class FittedTagger(SequenceFitted):
    """What `get("sequence-tagging").fit(ds)` returns."""

    def predict(self, x: Any) -> list[list[str]]:  # type: ignore[override]
        """Return the tags of each sentence, one for every word.

        Args:
            x: Sentences, each a list of words: [["New", "York", "sleeps"]]. One without words gets
                no tags.

        Raises:
            InputError: If they are anything else; the row is named.
        """
        assert isinstance(self.recipe, TaggingRecipe), "made for these alone"
        rows = word_lists(x)
        if not len(rows):
            return []
        examples = Examples(kind="words", inputs=rows, objective="tags")
        return self.recipe.tags(self.parts, examples, self.schema)
