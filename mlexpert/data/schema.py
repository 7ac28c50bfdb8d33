"""What is known of the training data, and nothing else: kind, shapes, classes and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlexpert.data.examples import Examples, Kind, Objective
from mlexpert.data.label_sets import labels_in
from mlexpert.data.sequences.statistics import SeriesStats, TimelineStats, WordStats
from mlexpert.data.tokenizer import SMALL, Vocabulary, count_tokens, train_tokenizer
from mlexpert.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mlexpert.data.images import Images

Label = str | int | float | bool

MAX_CATEGORIES = 10_000  # the rest of a column's categories shares the code of unseen ones
FINE_GRID, COARSE_GRID = 1_001, 257  # quantile levels of a column; coarse for wide tables
WIDE_TABLE = 100  # columns
FEWEST_STEPS = 1_000  # of float32 within the deviation of a column; a step is 128 s for dates


@dataclass(frozen=True)
class ImageStats:
    """Images of the training rows: channels, size in pixels, mean and deviation in [0, 1]."""

    channels: int
    height: int
    width: int
    uniform: bool
    """Whether every image has this size; otherwise it is the median size."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch_covariance: tuple[tuple[float, ...], ...] = ()
    """(4C, 4C) second moments E[p p^T] of all 2x2 patches of standardised pixels, each in (channel,
    row, column) order; () where images differ in size or are a single pixel high or wide."""


@dataclass(frozen=True)
class TextStats:
    """Texts of the training rows: a tokenizer fitted on them, and their lengths in its tokens."""

    tokenizer: str
    """JSON of a `tokenizers.Tokenizer`; id 0 pads."""
    vocab_size: int
    length_median: int
    length_p99: int


@dataclass(frozen=True)
class Numeric:
    """A numeric column: share of missing values, moments, and quantiles as float32 values.

    Values are meant as a model sees them: in float32, less the offset.
    """

    name: str
    missing: float
    mean: float
    std: float
    quantiles: tuple[float, ...]
    """Sorted values at evenly spaced levels 0..1 (with repeats where the column has ties)."""
    offset: float = 0.0
    """Taken off before values are rounded to float32, in which dates of one day would be equal: the
    median of such a column, and 0 of others."""


@dataclass(frozen=True)
class Categorical:
    """A categorical column: categories, most frequent first, and the share of missing values.

    Code 0 stands for missing, 1 for a category unseen in training, 2 onwards for `categories`.
    """

    name: str
    categories: tuple[str, ...]
    missing: float


Column = Numeric | Categorical


@dataclass(frozen=True)
class ValueStats:
    """The numbers to predict, of the training rows: moments and range, in their own unit."""

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Schema:
    """All that a recipe may know when it builds a model."""

    kind: Kind
    classes: tuple[Label, ...]
    """Labels as the user wrote them, in the order of the model's outputs."""
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    """Training rows of each class; of a label, those that have it."""
    objective: Objective = "classification"
    """What is predicted; for regression there are no classes."""
    num_rows: int = 0
    """Training rows; 0 in models saved before it was kept, whose classes say it."""
    values: ValueStats | None = None
    """For regression, the training targets."""
    image: ImageStats | None = None
    text: TextStats | None = None
    columns: tuple[Column, ...] = ()
    words: WordStats | None = None
    series: SeriesStats | None = None
    target_text: TextStats | None = None
    """Of targets that are texts themselves."""
    timeline: TimelineStats | None = None
    weighted_counts: tuple[float, ...] = ()
    """What the rows of each class weigh together, in mean weights; () where rows have none."""

    @property
    def prior_counts(self) -> tuple[float, ...]:
        """Rows of each class as they count in training: in these shares a model meets them."""
        return self.weighted_counts or self.class_counts

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.classes)

    @property
    def num_outputs(self) -> int:
        """Numbers that a model returns for a row: K, or 1 for regression."""
        return 1 if self.objective == "regression" else self.num_classes

    @property
    def num_examples(self) -> int:
        """Number of training rows, N."""
        return self.num_rows or sum(self.class_counts)


def describe(train: Examples, vocabulary: Vocabulary = SMALL) -> Schema:
    """Describe training rows: classes, shapes and column statistics.

    A column without any value is described as a constant: numeric with mean and quantiles 0,
    categorical without categories.

    Args:
        train: Rows of the train split.
        vocabulary: For texts, the tokenizer to fit on them.

    Raises:
        InputError: The rows are not those of the train split, have no labels, or have one class
            only.
    """
    if train.part != "train":
        raise InputError(
            "a schema is fitted on the train split only, and these rows belong to "
            f"{train.part or 'no split yet'}"
        )
    if train.targets is None or len(train) == 0:
        raise InputError("a schema needs training rows with labels, and there are none")
    # Rows of a stream may be one more class, for a model that knows others.
    fewest = 2 if train.tasks is None else 1
    classes, counts = _classes(train.targets, train.objective, fewest)
    names = train.class_names or {}
    inputs: Any = train.inputs
    return Schema(
        kind=train.kind,
        classes=classes,
        class_names=tuple(str(names.get(label, label)) for label in classes),
        class_counts=counts,
        objective=train.objective,
        num_rows=len(train),
        values=_value_stats(train.targets) if train.objective == "regression" else None,
        image=_image_stats(inputs) if train.kind == "image" else None,
        text=_text_stats(inputs, vocabulary) if train.kind == "text" else None,
        columns=_columns(inputs) if train.kind == "tabular" else (),
        series=_series_stats(inputs) if train.kind == "series" else None,
        weighted_counts=_weighted_counts(train),
    )


def _classes(
    targets: np.ndarray, objective: Objective, fewest: int
) -> tuple[tuple[Label, ...], tuple[int, ...]]:
    """Return the classes or labels of training rows, sorted, and the rows that have each."""
    if objective == "regression":
        return (), ()
    several = objective == "multilabel"
    labels = labels_in(targets) if several else targets
    values, counts = np.unique(labels, return_counts=True)
    classes: list[Label] = values.tolist()
    if not classes or (len(classes) < fewest and not several):
        shown = f"one class only ({classes[0]!r}" if classes else "no label ("
        raise InputError(
            f"the train split holds {shown} in all {len(targets)} rows): at least two are needed"
        )
    return tuple(classes), tuple(counts.tolist())


def _weighted_counts(train: Examples) -> tuple[float, ...]:
    """Return what the rows of each class weigh together, classes sorted, in mean weights."""
    if train.weights is None or train.targets is None or train.objective != "classification":
        return ()
    _, codes = np.unique(train.targets, return_inverse=True)
    return tuple(np.bincount(codes, weights=train.weights / train.weights.mean()).tolist())


def _value_stats(values: np.ndarray) -> ValueStats:
    stats = ValueStats(
        float(values.mean()), float(values.std()), float(values.min()), float(values.max())
    )
    if stats.low == stats.high:
        raise InputError(
            f"the train split holds the same number, {stats.low!r}, in all {len(values)} rows: "
            "there is nothing to learn"
        )
    if stats.std == 0:  # squares of differences below 1e-162 are 0
        raise InputError(
            f"the numbers to predict reach from {stats.low!r} to {stats.high!r}, which differ too "
            "little to compute with: change the unit"
        )
    return stats


def _image_stats(images: Images) -> ImageStats:
    from mlexpert.data.image_stats import describe_images  # it makes what this module defines

    return describe_images(images)


def _text_stats(texts: Sequence[str], vocabulary: Vocabulary) -> TextStats:
    tokenizer, vocab_size = train_tokenizer(texts, vocabulary)
    lengths = count_tokens(texts, tokenizer)
    return TextStats(
        tokenizer,
        vocab_size,
        round(float(np.median(lengths))),
        round(float(np.quantile(lengths, 0.99))),
    )


def _series_stats(series: np.ndarray) -> SeriesStats:
    lengths = [len(one) for one in series]
    count = sum(lengths)
    mean = sum(one.sum(axis=0, dtype=np.float64) for one in series) / count
    squares = sum(((one - mean) ** 2).sum(axis=0, dtype=np.float64) for one in series)
    return SeriesStats(
        series[0].shape[1],
        round(float(np.median(lengths))),
        round(float(np.quantile(lengths, 0.99))),
        max(lengths),
        tuple(mean.tolist()),
        tuple(np.sqrt(squares / count).tolist()),
    )


def _columns(frame: pd.DataFrame) -> tuple[Column, ...]:
    levels = FINE_GRID if len(frame.columns) <= WIDE_TABLE else COARSE_GRID
    return tuple(
        _numeric(str(name), series, levels)
        if series.dtype.kind == "f"
        else _categorical(str(name), series)
        for name, series in frame.items()
    )


def _numeric(name: str, series: pd.Series, levels: int) -> Numeric:
    values = series.to_numpy(np.float64)
    present = values[~np.isnan(values)]
    missing = 1.0 - len(present) / len(values)
    if len(present) == 0:
        return Numeric(name, missing, 0.0, 0.0, (0.0,) * levels)
    offset = _offset(present)
    # Rounded to float32 first, because that is what the model compares with the quantiles.
    present = (present - offset).astype(np.float32).astype(np.float64)
    grid = np.quantile(present, np.linspace(0.0, 1.0, levels)).astype(np.float32)
    grid = np.maximum.accumulate(grid)  # interpolation may break the order by a rounding
    mean, std = float(present.mean()), float(present.std())
    return Numeric(name, missing, mean, std, tuple(grid.tolist()), offset)


def _offset(values: np.ndarray) -> float:
    """Return the median where float32 has too few steps within the deviation of values (N,)."""
    step = np.spacing(np.abs(values).max().astype(np.float32))
    is_coarse = values.min() < values.max() and step * FEWEST_STEPS > values.std()
    return float(np.median(values)) if is_coarse else 0.0


def _categorical(name: str, series: pd.Series) -> Categorical:
    counts = series.value_counts(dropna=True)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    categories = tuple(str(category) for category, _ in ordered[:MAX_CATEGORIES])
    return Categorical(name, categories, float(series.isna().mean()))


_PLAIN: dict[str, type] = {
    "words": WordStats,
    "series": SeriesStats,
    "target_text": TextStats,
    "timeline": TimelineStats,
}
"""Descriptions that hold nothing but plain values, by the schema's field."""


def schema_to_json(schema: Schema) -> dict[str, Any]:
    """Return a schema as plain dicts and lists, which `schema_from_json` reads."""
    columns = [
        {"type": "numeric" if isinstance(column, Numeric) else "categorical", **vars(column)}
        for column in schema.columns
    ]
    # Not asdict: it copies the quantiles of a wide table one number at a time.
    plain = {
        **vars(schema),
        "values": None if schema.values is None else vars(schema.values),
        "image": None if schema.image is None else _plain_image(schema.image),
        "text": None if schema.text is None else vars(schema.text),
        **{
            name: None if (value := getattr(schema, name)) is None else vars(value)
            for name in _PLAIN
        },
        "columns": columns,
    }
    return {key: _as_lists(value) for key, value in plain.items()}


def _plain_image(stats: ImageStats) -> dict[str, Any]:
    return {**vars(stats), "patch_covariance": [list(row) for row in stats.patch_covariance]}


def schema_from_json(plain: dict[str, Any]) -> Schema:
    """Make a schema of what `schema_to_json` returned, also after a passage through JSON.

    Raises:
        InputError: A field is missing or unknown.
    """
    try:
        fields = {key: _as_tuples(value) for key, value in plain.items()}
        columns = [dict(column) for column in plain["columns"]]
        types: dict[str, type[Column]] = {"numeric": Numeric, "categorical": Categorical}
        fields["columns"] = tuple(
            types[column.pop("type")](**_as_tuples(column)) for column in columns
        )
        if plain.get("values") is not None:
            fields["values"] = ValueStats(**fields["values"])
        fields["image"] = None if plain["image"] is None else ImageStats(**fields["image"])
        fields["text"] = None if plain["text"] is None else TextStats(**fields["text"])
        for name, form in _PLAIN.items():
            if plain.get(name) is not None:
                fields[name] = form(**fields[name])
        return Schema(**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"this is not the description of a schema: {error}") from error


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_lists(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_lists(one) for one in value]
    return list(value) if isinstance(value, tuple) else value  # tuples hold plain values


def _as_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_tuples(one) for key, one in value.items()}
    return tuple(_as_tuples(one) for one in value) if isinstance(value, tuple | list) else value
