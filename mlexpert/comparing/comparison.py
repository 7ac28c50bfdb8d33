"""A finished comparison: its table, its differences, its report, and where every run lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlexpert.errors import InputError

COMPARISON = "comparison.json"
_NEEDED = {"recipes", "seeds", "metrics", "data", "runs", "status", "started"}


class Comparison:
    """What `mlexpert.compare` returns, and `Comparison(folder)` gives back.

    Attributes:
        path: The folder of the comparison.
        facts: What its `comparison.json` says.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the folder of a finished comparison.

        Raises:
            InputError: If it holds none, or one that is not finished.
        """
        self.path = Path(path)
        self.facts = read_comparison(self.path)
        if self.facts["status"] != "finished":
            raise InputError(
                f"The comparison in {path} is {self.facts['status']}, not finished; compare again "
                f"with run_dir={str(path)!r}."
            )

    @property
    def best(self) -> str:
        """The recipe with the best mean of the first metric, of those with all their runs.

        Raises:
            InputError: If none has all its runs.
        """
        best = self._results["best"]
        if best is None:
            raise InputError(f"no recipe has a run for every seed; {self.path} says what failed.")
        return best

    @property
    def table(self) -> pd.DataFrame:
        """One row for each recipe, the best first.

        Columns: each metric's mean, and its 95 % interval under `..._low` and `..._high`; for the
        first metric the `difference` to the best (or the baseline) and its adjusted p-value `p`;
        the number of `runs`; the mean `seconds` of a run. Recipes that lack a run stand last.
        """
        ranking = self._results["ranking"]
        rest = [name for name in self._results["means"] if name not in ranking]
        first = {
            one["name"]: one
            for one in self._results["differences"].get(self.facts["metrics"][0], [])
        }
        rows = {}
        for name in [*ranking, *rest]:
            row: dict[str, Any] = {}
            for metric, mean in self._results["means"][name].items():
                row[metric] = mean["value"]
                row[f"{metric}_low"], row[f"{metric}_high"] = mean["low"], mean["high"]
            one = first.get(name, {})
            row["difference"], row["p"] = one.get("difference"), one.get("adjusted")
            own = [run for run in self._finished if run["name"] == name]
            row["runs"] = len(own)
            row["seconds"] = _mean([run["seconds"] for run in own])
            rows[name] = row
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")
        return table.astype({name: float for name in table.columns if name != "runs"})

    @property
    def differences(self) -> pd.DataFrame:
        """Each recipe's difference to the reference in each metric.

        Columns: `metric`, `recipe`, `reference`, `difference`, `low`, `high` (of this comparison by
        itself), `p`, `adjusted` (by Holm, within the metric) and `note`.
        """
        rows = [
            {"metric": metric, "recipe": one["name"], **{key: one[key] for key in _DIFFERENCE}}
            for metric, found in self._results["differences"].items()
            for one in found
        ]
        table = pd.DataFrame(rows, columns=["metric", "recipe", *_DIFFERENCE])
        return table.astype(dict.fromkeys(_DIFFERENCE[1:-1], float))

    @property
    def runs(self) -> pd.DataFrame:
        """One row for each run: recipe, seed, status, seconds, compared metrics and `run_dir`."""
        part, metrics = self._results["part"], self.facts["metrics"]
        rows = [
            {
                "recipe": run["name"],
                "seed": run["seed"],
                "status": run["status"],
                "seconds": run.get("seconds"),
                **{metric: (run.get(part) or {}).get(metric) for metric in metrics},
                "run_dir": str(self.path / run["run"]),
            }
            for run in self.facts["runs"]
        ]
        return pd.DataFrame(rows).astype(dict.fromkeys(metrics, float))

    @property
    def failed(self) -> dict[str, str]:
        """Recipes of which a run failed, each with the message of the first one."""
        found: dict[str, str] = {}
        for run in self.facts["runs"]:
            if run["status"] == "failed":
                found.setdefault(run["name"], f"seed {run['seed']}: {run['error']}")
        return found

    @property
    def left_out(self) -> dict[str, str]:
        """Recipes of the family that do not take this data, each with the reason."""
        return dict(self.facts["left_out"])

    def run_dir(self, recipe: str, seed: int | None = None) -> Path:
        """Return the folder of a run, for `Fitted.from_run`.

        Args:
            recipe: Its name in the comparison.
            seed: One of the seeds; None: the first one.

        Raises:
            InputError: If there is no such finished run.
        """
        for run in self._finished:
            if run["name"] == recipe and seed in (None, run["seed"]):
                return self.path / run["run"]
        which = "" if seed is None else f" with seed {seed}"
        raise InputError(f"there is no finished run of {recipe!r}{which} in {self.path}.")

    def report(self) -> Path:
        """Write `report.html` into the folder, and the reports of its runs; return its path."""
        from mlexpert.evidence.comparison.report import write_comparison  # matplotlib

        return write_comparison(self.path)

    def __repr__(self) -> str:
        names = ", ".join(self._results["ranking"]) or "no complete recipe"
        return (
            f"{type(self).__name__}({names}; {len(self.facts['seeds'])} seeds, {str(self.path)!r})"
        )

    @property
    def _results(self) -> dict[str, Any]:
        return self.facts["results"]

    @property
    def _finished(self) -> list[dict[str, Any]]:
        return [run for run in self.facts["runs"] if run["status"] == "finished"]


_DIFFERENCE = ("reference", "difference", "low", "high", "p", "adjusted", "note")


def read_comparison(path: Path) -> dict[str, Any]:
    """Return what a folder's `comparison.json` says.

    Raises:
        InputError: If there is none that can be read.
    """
    file = path / COMPARISON
    if not file.is_file():
        raise InputError(
            f"{path} is no folder of a comparison: {COMPARISON} is missing. Choose another run_dir."
        )
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); choose another run_dir.") from error
    if not (isinstance(facts, dict) and facts.keys() >= _NEEDED):
        raise InputError(f"{file} does not describe a comparison; choose another run_dir.")
    return facts


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else np.nan
