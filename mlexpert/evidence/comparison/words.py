"""The sentences of a comparison: what was found, what the repeats are, and how far that goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlexpert.data.examples import MEANS, SEQUENCES
from mlexpert.evidence.metric_table import METRICS, in_words
from mlexpert.evidence.repeats import ALPHA

NUMERALS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Words:
    """Says in plain sentences what `comparison.json` holds."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts, self.results = facts, facts["results"]
        self.metric = facts["metrics"][0]
        self.num_seeds = len(facts["seeds"])

    @property
    def title(self) -> str:
        """What is compared."""
        return f"{len(self.facts['recipes'])} recipes compared"

    @property
    def task(self) -> str:
        """What the rows are, and what is predicted of them."""
        data = self.facts["data"]
        what = {
            "classification": f"{data['num_classes']} classes",
            "multilabel": f"any of {data['num_classes']} labels",
            "regression": "a number",
            **{one: MEANS[one] for one in SEQUENCES},
        }
        return f"{data['kind']} rows, {what[self.facts['objective']]}"

    def lead(self) -> str:
        """Return which recipe is best, and from which others it is told apart."""
        best = self.results["best"]
        if best is None:
            return "No recipe has a finished run for every seed, so none is ranked."
        mean = self.results["means"][best][self.metric]
        spread = self.interval(self.metric, mean)
        sentence = (
            f"{best} has the best {self._name()} on {self.results['part']}: "
            f"{in_words(self.metric, mean['value'])}" + (f" ({spread})." if spread else ".")
        )
        found = self.results["differences"].get(self.metric, [])
        if not found:
            return f"{sentence} It is the only recipe with all its runs, so nothing is tested."
        real = [one["name"] for one in found if _is_real(one)]
        apart = [one["name"] for one in found if not _is_real(one)]
        reference = self.results["reference"]
        whom = "it" if reference == best else reference
        if not real:
            return f"{sentence} No other recipe is shown to differ from {whom}."
        if not apart:
            all_ = "All other recipes differ" if len(real) > 1 else f"{real[0]} differs"
            return f"{sentence} {all_} from {whom} by more than chance."
        differ, are = "differs" if len(real) == 1 else "differ", "is" if len(apart) == 1 else "are"
        return (
            f"{sentence} {_listed(real)} {differ} from {whom} by more than chance; "
            f"{_listed(apart)} {are} not shown to."
        )

    def repeats(self) -> str:
        """Return what the repeats are, and hence how differences are tested."""
        seeds = _listed([str(seed) for seed in self.facts["seeds"]])
        part = self.results["part"]
        if self.results["varies"] == "rows":
            return (
                f"There is one repeat, with seed {seeds}. Intervals and p-values resample the "
                f"{part} rows (paired bootstrap, {self.results['resamples']:,} resamples for "
                "differences): they say what other rows might show of these very models, and "
                "nothing of another split or another training."
            )
        many = f"{_numeral(self.num_seeds)} repeats, with seeds {seeds}"
        if self.results["varies"] == "splits":
            return (
                f"The {many}, are different random splits of one data set, the same for every "
                "recipe; with the split, all that is drawn in training changes. The splits share "
                "most of their training rows, so intervals and p-values come from the corrected "
                "resampled t-test (Nadeau and Bengio 2003): they speak of other random splits of "
                "this data, not of other data."
            )
        varies = "only chance in training varies"
        if len({run.get("split") for run in self.facts["runs"]} - {None}) > 1:
            varies += ", and which of the other rows are trained on"
        return (
            f"The {many}, share one and the same {part} split, which the data brings or its times "
            f"fix: {varies}. Intervals and p-values come from a t-test over the seeds, paired "
            "between recipes; they speak of other trainings measured on these very rows, and "
            "nothing of other rows."
        )

    def caution(self) -> str:
        """Return what is to be kept in mind with these numbers."""
        sentences = []
        part, baseline = self.results["part"], self.facts["baseline"]
        if baseline is not None and baseline != self.results["reference"]:
            sentences.append(
                f"The baseline {baseline} lacks a run, so the others are compared with the best of "
                "those that have all theirs."
            )
        if part == "validation":
            sentences.append(
                "Validation is what epochs and decision rules were chosen on, so its numbers are a "
                "little optimistic, for every recipe alike."
            )
        if len(self.results["ranking"]) > 1:
            sentences.append(
                "The best of several was picked on these rows too, which flatters it; new rows "
                "will tell."
            )
        if 1 < self.num_seeds < 5:
            sentences.append(
                f"With {_numeral(self.num_seeds)} repeats only large differences can be shown: "
                "what is not shown may well be there. More seeds narrow the intervals."
            )
        return " ".join(sentences)

    def adjustment(self) -> str:
        """Return how the p-values were adjusted."""
        number, reference = self.results["comparisons"], self.results["reference"]
        if number < 2:
            how = "There is one comparison, so its p-values need no adjustment."
        elif self.results["chosen"]:
            how = (
                f"Adjusted p-values are by Holm (1979), over all {number} pairs of recipes, since "
                "which one is the best was found in these same results. A baseline that is named "
                "before needs fewer comparisons."
            )
        else:
            how = (
                f"Adjusted p-values are by Holm (1979), over the {number} comparisons with "
                f"{reference}."
            )
        return (
            f"{how} Each metric stands by itself; the first one is what recipes are ranked by, and "
            "the others are for the picture. Intervals of differences are 95 % for each comparison "
            "alone."
        )

    def differences(self) -> list[dict[str, Any]]:
        """Return for each metric its title and a row in words for each recipe."""
        found = []
        for metric in self.facts["metrics"]:
            rows = self.results["differences"].get(metric, [])
            order = {name: place for place, name in enumerate(self.results["ranking"])}
            rows = sorted(rows, key=lambda one: order[one["name"]])
            about = METRICS[metric]
            found.append(
                {
                    "title": about.title,
                    "better": about.better,
                    "rows": [self._difference(metric, one) for one in rows],
                }
            )
        return found

    def interval(self, metric: str, mean: Mapping[str, Any]) -> str:
        """Return an interval in words, or nothing where there is none."""
        if mean["low"] is None or mean["high"] is None:
            return ""
        return f"{in_words(metric, mean['low'])} to {in_words(metric, mean['high'])}"

    def _difference(self, metric: str, one: Mapping[str, Any]) -> dict[str, Any]:
        adjusted = one["adjusted"]
        if one["difference"] is None or adjusted is None:
            verdict, kind = "not tested", "unknown"
        elif not _is_real(one):
            verdict, kind = "no difference shown", "same"
        else:
            is_better = (one["difference"] > 0) == (METRICS[metric].better == "higher")
            verdict, kind = ("better", "better") if is_better else ("worse", "worse")
        known = one["low"] is not None and one["high"] is not None
        return {
            "name": one["name"],
            "verdict": verdict,
            "kind": kind,
            "difference": _signed(metric, one["difference"]),
            "interval": (
                f"{_signed(metric, one['low'])} to {_signed(metric, one['high'])}" if known else ""
            ),
            "p": _p(one["p"]),
            "adjusted": _p(adjusted),
            "note": one["note"],
        }

    def _name(self) -> str:
        title = METRICS[self.metric].title
        return title if title.split()[0].isupper() or "-" in title else title[0].lower() + title[1:]


def _is_real(one: Mapping[str, Any]) -> bool:
    return one["adjusted"] is not None and bool(one["adjusted"] < ALPHA)


def _signed(metric: str, value: float | None) -> str:
    if value is None or np.isnan(value):
        return in_words(metric, np.nan)
    text = in_words(metric, abs(value))
    if float(text.replace(",", "")) == 0:
        return text
    sign = "+" if value > 0 else "\N{MINUS SIGN}"
    return f"{sign}{text}"


def _p(value: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _numeral(number: int) -> str:
    return NUMERALS[number] if number < len(NUMERALS) else str(number)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
