"""What a stream of tasks left in a network: numbers of its accuracy matrix, after their papers.

Everywhere below, `matrix` is (S + 1, T): entry (s, j) is the accuracy on validation rows of task j,
a share, after s stretches of training. Row 0 is the network before them, untrained or with what it
had learned before the record begins; NaN stands for what was not measured. `learned` (T,) is the
row by which each task had been learned: 1, 2, ..., T of a whole stream; 1, 2, -1, ..., -1 of one
that ended after two tasks; 0, ..., 0, 1 of one whose record begins before its last task; 1, ..., 1
of joint training, which is a single stretch.

Means are over the tasks that were learned. What needs an entry that was not measured is NaN.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlexpert.evidence.continual.record import StreamRecord, stream_record
from mlexpert.evidence.run_files import read_json, read_rows


def average_accuracy(matrix: np.ndarray, learned: np.ndarray) -> float:
    """Return the mean over tasks of the accuracy in the end.

    ACC of Lopez-Paz & Ranzato 2017, arXiv:1706.08840: 1/T sum_j R[T, j].
    """
    return _mean(matrix[-1, learned >= 0])


def average_over_stream(matrix: np.ndarray, learned: np.ndarray) -> float:
    """Return the mean, over the stream, of the average accuracy on the tasks learned by then.

    The average incremental accuracy of Rebuffi et al. 2017, arXiv:1611.07725, section 4, with tasks
    of equal weight and the first one counted: 1/T sum_t 1/t sum_{j <= t} R[t, j].
    """
    return _mean(running_average(matrix, learned)[1:])


def running_average(matrix: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Return (S + 1,) mean accuracy on the tasks learned by then; NaN where there are none."""
    by_then = [(learned >= 0) & (learned <= row) for row in range(len(matrix))]
    return np.array([_mean(row[known]) for row, known in zip(matrix, by_then, strict=True)])


def forgetting(matrix: np.ndarray, learned: np.ndarray) -> float:
    """Return the mean over tasks but the last of: the best before the last task, less the last.

    F of Chaudhry et al. 2018, arXiv:1801.10112:
    1/(T - 1) sum_{j < T} (max_{1 <= l < T} R[l, j] - R[T, j]). It is less than 0 where later tasks
    helped earlier ones, and NaN where there are none. Of a task from before
    the record, the best is that since the record began.
    """
    return _mean(forgotten(matrix, learned)[_before_last(matrix, learned)])


def forgotten(matrix: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Return (T,) the terms of `forgetting`; NaN for the last task and for those not learned.

    Of the rows before the task was learned only those that were measured count: a class that was
    not met is not decided for. From then on all must be there, or the best would be too low.
    """
    terms = np.full(len(learned), np.nan)
    for task in np.flatnonzero(_before_last(matrix, learned)):
        column, since = matrix[:, task], learned[task]
        best = np.fmax.reduce(column[1 : max(since, 1)], initial=-np.inf)
        terms[task] = np.maximum(column[since:-1].max(), best) - column[-1]
    return terms


def backward_transfer(matrix: np.ndarray, learned: np.ndarray) -> float:
    """Return the mean over tasks but the last of: the last, less right after it was learned.

    BWT of Lopez-Paz & Ranzato 2017: 1/(T - 1) sum_{j < T} (R[T, j] - R[j, j]). A task from
    before the record counts from where the record begins.
    """
    earlier = _before_last(matrix, learned)
    return _mean((matrix[-1] - after_learning(matrix, learned))[earlier])


def forward_transfer(matrix: np.ndarray, learned: np.ndarray) -> float:
    """Return the mean over tasks but the first of: just before it came, less the untrained network.

    FWT of Lopez-Paz & Ranzato 2017: 1/(T - 1) sum_{j > 1} (R[j - 1, j] - b[j]), where b is row 0:
    this very network before training, rather than a mean over random ones. NaN where the
    record begins later.
    """
    later = learned > 1
    if (learned == 0).any():
        return np.nan
    before = matrix[np.maximum(learned - 1, 0), np.arange(len(learned))]
    return _mean((before - matrix[0])[later])


def plasticity(matrix: np.ndarray, learned: np.ndarray) -> float:
    """Return the mean over tasks of the accuracy right after the task was learned.

    The learning accuracy (LA) of Riemer et al. 2019, arXiv:1810.11910: 1/T sum_j R[j, j], over the
    tasks whose learning is on record.
    """
    return _mean(after_learning(matrix, learned)[learned > 0])


def after_learning(matrix: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Return (T,) accuracies once each task had been learned; NaN where it was not."""
    return np.where(learned >= 0, matrix[learned, np.arange(len(learned))], np.nan)


def against_fresh(matrix: np.ndarray, learned: np.ndarray, fresh: np.ndarray) -> float:
    """Return the mean of: right after a task was learned, less a fresh network's on that task.

    Less than 0 where the stream has cost the network some of its ability to learn (loss of
    plasticity; Dohare et al. 2024, arXiv:2306.13812).

    Args:
        matrix: (S + 1, T) accuracies with the task told, as a fresh network knows no other task.
        learned: (T,) rows.
        fresh: (T,) accuracy of a new network trained on that task alone; tasks where it is NaN are
            left out.
    """
    gains = after_learning(matrix, learned) - fresh
    return _mean(gains[(learned > 0) & ~np.isnan(gains)])


def scores(matrix: np.ndarray, learned: np.ndarray) -> dict[str, float]:
    """Return what one accuracy matrix says, by the names of the functions above."""
    return {
        measure.__name__: measure(matrix, learned)
        for measure in (
            average_accuracy,
            average_over_stream,
            forgetting,
            backward_transfer,
            forward_transfer,
            plasticity,
        )
    }


def stream_metrics(run_dir: Path | str) -> dict[str, float]:
    """Return what a run says of its stream, measured on validation rows.

    Args:
        run_dir: Folder that `fit` wrote; unreadable or of no stream, it gives an empty dictionary.

    Returns:
        `average_accuracy`, `forgetting`, `backward_transfer`, `forward_transfer` and `plasticity`
        of the accuracy that the scenario asks for; `task_aware_accuracy`, which is the average
        accuracy with the task told; `buffer_bytes`, what the method keeps beside the network. NaN
        for what was not measured, as class-incremental forward transfer: no class is decided for
        before it is met.
    """
    path = Path(run_dir)
    run = read_json(path, "run.json", {})
    found = stream_record(run or {}, read_rows(path, "metrics.jsonl", {}))
    return {} if found is None else metrics_of_stream(found)


def metrics_of_stream(stream: StreamRecord) -> dict[str, float]:
    """Return the metrics that `stream_metrics` names."""
    told = stream.told
    return {
        "average_accuracy": average_accuracy(stream.asked, stream.learned),
        "task_aware_accuracy": np.nan if told is None else average_accuracy(told, stream.learned),
        "forgetting": forgetting(stream.asked, stream.learned),
        "backward_transfer": backward_transfer(stream.asked, stream.learned),
        "forward_transfer": forward_transfer(stream.asked, stream.learned),
        "plasticity": plasticity(stream.asked, stream.learned),
        "buffer_bytes": float(stream.buffer_bytes[-1]) if len(stream.buffer_bytes) else np.nan,
    }


def _before_last(matrix: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Return (T,) whether a task had been learned before the last stretch."""
    return (learned >= 0) & (learned < len(matrix) - 1)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
