"""What is known when a stream begins: the inputs of its first task, and which classes will come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlexpert.data.examples import Examples
from mlexpert.data.schema import Schema, describe
from mlexpert.data.tasks.coverage import tasks_in
from mlexpert.data.tokenizer import SMALL, Vocabulary


def describe_first_task(train: Examples, vocabulary: Vocabulary = SMALL) -> Schema:
    """Describe the training rows of a stream by those of its first task.

    Statistics of the inputs (means, quantiles, categories, the tokenizer) are fitted on the rows of
    task 0 alone, because later ones have not come yet. Classes, their names, their counts and the
    number of rows are those of all tasks: the stream declares them.

    Args:
        train: Rows of the train split, with their tasks.
        vocabulary: For texts, the tokenizer to fit on those of the first task.

    Raises:
        InputError: The rows are of no stream, or are refused by `describe`.
    """
    first = train.select(np.flatnonzero(tasks_in(train) == 0))
    # `describe` counts targets and measures inputs, and never looks at both of a row together.
    seen = replace(train, inputs=first.inputs)
    return replace(describe(seen, vocabulary), num_rows=len(train))
