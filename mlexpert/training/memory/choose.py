"""Choosing the micro-batch: predict, probe, believe only what was probed.

The peak of a training step is max(floor, a + c * rows): the floor is gradients and optimiser state,
the rising part is activations. A prediction is right but for a factor (what operations take inside
of themselves), which the probes on the rising part give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlexpert.training.memory.agreed import agreed
from mlexpert.training.memory.sizing import MIB, Probe, Sizing, mib

MAX_PROBES = 6
MARGIN = 0.1
"""Share of the available memory that is left alone."""
LEAP = 4
"""By how much a probe may be larger than the last that ran; and for one probe to be enough, a
prediction that nothing has confirmed has to fit so many times."""
DOUBT = 2
"""By how much the rise above the floor may be more than predicted, where no probe has shown it."""
LEAST_RATIO = 0.95
"""The least that a probe is believed to take of its prediction."""
RISE = 1.05
"""A peak above the floor by this factor is on the rising part."""
FASTER = 0.7
"""A smaller micro-batch is taken if its rows take less than this share of the larger one's time."""


def choose(
    batch_size: int,
    *,
    available: int,
    predict: Callable[[int], int | None],
    probe: Callable[[int], Probe],
    exceptions_are_safe: bool,
    agree_min: Callable[[int], int] = lambda value: value,
) -> Sizing:
    """Choose the rows of a micro-batch.

    The whole batch where it fits: BatchNorm's statistics are then those of the whole batch.
    Otherwise the largest that fits of those that cut the batch evenly, or a smaller one among the
    probed that is clearly faster.

    Args:
        batch_size: Rows of the global batch.
        available: Bytes free.
        predict: Gives the peak in bytes for a number of rows, or None where it is not known.
        probe: Makes real steps.
        exceptions_are_safe: Whether a probe that takes too much only fails. On a CPU the process is
            killed, so there nothing is probed that is not expected to fit.
        agree_min: Gives the least of all processes' values, so that all probe the same sizes.
    """
    predict, probe = agreed(predict, probe, agree_min)
    search = _Search(batch_size, agree_min(available), predict, exceptions_are_safe)
    while len(search.probes) < MAX_PROBES:
        size = search.next_size()
        if size is None:
            break
        expected = search.expect(size)
        made = replace(probe(size), size=size, predicted=predict(size), expected=expected)
        search.learn(made)
    return search.result()


class _Search:
    def __init__(
        self,
        batch_size: int,
        available: int,
        predict: Callable[[int], int | None],
        exceptions_are_safe: bool,
    ) -> None:
        self.batch_size, self.available, self.safe = batch_size, available, exceptions_are_safe
        self.predict = predict
        self.limit = int(available * (1 - MARGIN))
        self.sizes = _even_sizes(batch_size)
        self.probes: list[Probe] = []

    def next_size(self) -> int | None:
        """Return what to probe next, or None if nothing is left that is worth it or safe."""
        low = max((p.size for p in self.probes if p.fits), default=0)
        failed = [p for p in self.probes if not p.fits and not p.too_few_rows]
        high = min((p.size for p in failed), default=self.batch_size + 1)
        left = [size for size in self.sizes if low < size < high]
        if not left:
            return None
        if not any(p.measured for p in self.probes) and not failed:
            return self._first(left)
        if low:
            left = [size for size in left if size <= LEAP * low]
        if any(p.measured is None for p in failed):
            # Where it broke off is not known: the next goes half-way, or all the way in the end.
            last = not low and len(self.probes) == MAX_PROBES - 1
            half = (
                [] if last else [size for size in left if size <= max((low + high) // 2, low + 1)]
            )
            left = half or left[:1]
        residual = self._residual()
        fitting = _largest(
            left,
            lambda size: self._fits(self.expect(size), residual=residual) and self._is_safe(size),
        )
        if fitting is None and self.safe and not low:
            return left[0]  # Nothing ran yet, and trying costs nothing.
        return fitting

    def _first(self, left: list[int]) -> int | None:
        whole = self.predict(left[-1])
        if whole is None:
            return left[-1] if self.safe else left[0]
        if self._fits(whole, 1 if self.safe else LEAP):
            return left[-1]
        # A size that even a fake run refuses, such as one row for a BatchNorm, is none.
        while len(self.sizes) > 1 and self.predict(self.sizes[0]) is None:
            del self.sizes[0]
        left = [size for size in left if size >= self.sizes[0]]
        # Gradients and optimiser state are known for sure; the doubt is about the rise above.
        lowest, doubt = self.predict(self.sizes[0]) or 0, 1 if self.safe else DOUBT
        small = left if self.safe else [s for s in left if s <= max(left[0], left[-1] // LEAP)]
        roomy = _largest(
            small, lambda size: self._fits(self.predict(size), doubt, (1 - doubt) * lowest)
        )
        if roomy is not None:
            return roomy
        return left[0] if self.safe or self._fits(self.predict(left[0])) else None

    def _fits(self, peak: int | None, doubt: int = 1, residual: int = 0) -> bool:
        return peak is not None and doubt * peak + residual <= self.limit

    def expect(self, size: int) -> int | None:
        """Return the peak to expect, in bytes; where little is known, the worst there is."""
        known = self._measured()
        predicted = self.predict(size)
        if not known:
            return predicted
        last = known[-1]
        taken = last.measured or 0
        if predicted is None or last.predicted is None:
            return self._without_prediction(size)
        if self._is_rising(last):
            lowest = self.predict(self.sizes[0])
            if lowest is not None and lowest < predicted < last.predicted:
                share = (predicted - lowest) / (last.predicted - lowest)
                return round(lowest + share * (taken - lowest))
            # A step takes no less than its tensors: a probe that did found free memory in the
            # process, and the next, larger one will not find as much.
            return round(predicted * max(LEAST_RATIO, taken / last.predicted))
        # On the floor a probe says nothing of the activations to come.
        doubt = 1 if self.safe else DOUBT
        return taken + doubt * max(0, predicted - last.predicted)

    def _is_safe(self, size: int) -> bool:
        """Say whether it would fit even if only the floor was predicted rightly."""
        last = self._measured()[-1] if self._measured() else None
        lowest, predicted = self.predict(self.sizes[0]), self.predict(size)
        if self.safe or last is None or not (lowest and predicted and last.predicted):
            return True
        taken = last.measured or 0
        if self._is_rising(last):
            slope = max(0, taken - lowest) / max(1, last.predicted - lowest)
        elif taken > RISE * last.predicted:  # Above the floor already, against the prediction.
            return taken * max(1.0, size / last.size) <= self.available
        else:
            slope = DOUBT
        return taken + slope * max(0, predicted - last.predicted) <= self.available

    def _without_prediction(self, size: int) -> int:
        known = self._measured()[-3:]
        peaks = [p.measured or 0 for p in known]
        if len(known) == 3 and peaks[1] > RISE * peaks[0] and peaks[2] > RISE * peaks[1]:
            slope = (peaks[2] - peaks[1]) / (known[2].size - known[1].size)
            return round(peaks[2] + slope * (size - known[2].size))
        # Memory that does not depend on the rows can only make this too much.
        growth = size / known[-1].size
        return peaks[-1] if self.safe else round(peaks[-1] * max(1.0, growth))

    def _measured(self) -> list[Probe]:
        return sorted((p for p in self.probes if p.measured), key=lambda p: p.size)

    def _is_rising(self, probe: Probe) -> bool:
        lowest = self.predict(self.sizes[0])
        if probe.size == self.batch_size or lowest is None:
            return True
        return (probe.predicted or 0) > RISE * lowest

    def _residual(self) -> int:
        """Return how far probes lie from the calibrated prediction, in bytes."""
        rising = [p for p in self._measured() if p.predicted is not None and self._is_rising(p)]
        return max((abs((p.measured or 0) - (self.expect(p.size) or 0)) for p in rising), default=0)

    def learn(self, probe: Probe) -> None:
        """Take in what a probe gave."""
        if probe.too_few_rows:
            self.sizes = [s for s in self.sizes if _smallest_piece(self.batch_size, s) > 1]
        fits = probe.fits and (probe.measured is None or probe.measured <= self.limit)
        self.probes.append(replace(probe, fits=fits))

    def result(self) -> Sizing:
        """Return the largest size that was confirmed, or one that is clearly faster."""
        confirmed = sorted((p for p in self.probes if p.fits), key=lambda p: p.size)
        if not confirmed:
            return self._sizing(None, self._why_nothing())
        largest = fastest = confirmed[-1]
        if largest.size < self.batch_size:
            fastest = min(confirmed, key=lambda p: p.row_seconds)
            if fastest.row_seconds >= FASTER * largest.row_seconds:
                fastest = largest
        room = f"{mib(fastest.measured or 0)} of {self._free()}"
        if fastest.size == self.batch_size:
            return self._sizing(fastest, f"the whole batch of {self.batch_size} fits: {room}")
        why = f"micro-batches of {fastest.size} of {self.batch_size} rows fit: {room}"
        if fastest is not largest:
            ratio = fastest.row_seconds / largest.row_seconds
            why += f"; {largest.size} fit too, but {fastest.size} take {ratio:.0%} of their time"
        else:
            whole = self.predict(self.batch_size) or self.expect(self.batch_size)
            why += f"; the whole batch would take {mib(whole)}" if whole else ""
        return self._sizing(fastest, why)

    def _needed_at_least(self) -> int | None:
        return self.expect(self.sizes[0])

    def _why_nothing(self) -> str:
        rows, needed = self.sizes[0], self._needed_at_least()
        subject = "a single row takes" if rows == 1 else f"micro-batches of {rows} rows take"
        amount = "more than there is" if needed is None else mib(needed)
        return f"{subject} {amount}; {self._free()} are available, of which a tenth is left alone"

    def _free(self) -> str:
        return f"{self.available // MIB:,} MiB"

    def _sizing(self, chosen: Probe | None, why: str) -> Sizing:
        return Sizing(
            size=chosen.size if chosen else 0,
            batch_size=self.batch_size,
            available=self.available,
            needed=chosen.measured if chosen else self._needed_at_least(),
            predicted=chosen.expected if chosen else None,
            probes=tuple(self.probes),
            why=why,
        )


def _even_sizes(batch_size: int) -> list[int]:
    """Return the sizes that cut the batch evenly, ascending: ceil(batch_size / k)."""
    return sorted({-(-batch_size // count) for count in range(1, batch_size + 1)})


def _smallest_piece(batch_size: int, size: int) -> int:
    return batch_size // -(-batch_size // size)


def _largest(sizes: list[int], fits: Callable[[int], bool]) -> int | None:
    """Return the largest size that fits, by bisection: more rows never take less."""
    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if fits(sizes[middle]) else (low, middle)
    return sizes[low - 1] if low else None
