"""The sentences of the summary where sequences are predicted."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlexpert.evidence.record import PartRecord, RunRecord


def sequence_headline(record: RunRecord, shown: PartRecord[Any]) -> str:
    """Return what was found on a split, in a sentence or two."""
    metrics, rows = shown.metrics, f"{len(shown.predictions):,}"
    where = f"On {rows} {shown.name} rows"
    match record.objective:
        case "tokens":
            tokens = int(shown.predictions.counts["tokens"].sum())
            said = f"{where} of {tokens:,} tokens, each counted once, the loss is "
            said += f"{metrics['loss']:.3f} nats a token{_interval(shown, 'loss')}"
            per_byte = metrics.get("bits_per_byte")
            return said + (f", which is {per_byte:.3f} bits a byte." if per_byte else ".")
        case "tags":
            words = int(shown.predictions.counts["tokens"].sum())
            said = f"{where} of {words:,} words {100 * metrics['tag_accuracy']:.1f} % of the tags "
            said += f"are right{_interval(shown, 'tag_accuracy')}."
            if "entity_f1" in metrics:
                said += (
                    f" Entities, right only with their ends and their kind, have an F1 of "
                    f"{metrics['entity_f1']:.3f}{_interval(shown, 'entity_f1')}."
                )
            return said
        case "transduction":
            return (
                f"{where} {100 * metrics['sequence_accuracy']:.1f} % of the sequences are right "
                f"as a whole{_interval(shown, 'sequence_accuracy')}; "
                f"{metrics['token_error_rate']:.3f} edits a token are missing to the truth."
            )
        case _:
            return (
                f"Over {rows} {shown.name} windows, every one of which is counted, the mean "
                f"squared error is {metrics['forecast_mse']:.4f} and the mean absolute error "
                f"{metrics['forecast_mae']:.4f}, both of values standardised by the training rows."
            )


def sequence_notes(record: RunRecord, shown: PartRecord[Any]) -> dict[str, str]:
    """Return one plain sentence on what each headline number is."""
    guess = ""
    size = (record.run["schema"].get("text") or {}).get("vocab_size")
    if size:
        guess = f" Guessing among {size:,} tokens gives {np.log(size):.2f}."
    return {
        "loss": f"Cross-entropy of the next token; 0 is best.{guess}",
        "bits_per_byte": "The same, over bytes of text: comparable between tokenizers. 8 is "
        "guessing bytes.",
        "perplexity": "As many tokens would be equally likely, were the loss that of a fair die.",
        "tag_accuracy": "Share of words whose tag is right.",
        "entity_f1": "Harmonic mean of precision and recall of whole entities.",
        "entity_precision": "Share of the entities found that are right.",
        "entity_recall": "Share of the true entities that are found.",
        "sequence_accuracy": "Share of the sequences without a single error.",
        "token_error_rate": "Insertions, deletions and changes over the tokens of the truth.",
        "forecast_mse": "Of values standardised by mean and deviation of the training rows: 1 is "
        "about the error of forecasting the mean.",
        "forecast_mae": "Of the same values; large errors weigh less.",
        "mase": "Mean absolute error over that of repeating the last season: below 1 is better "
        "than that.",
        "quantile_loss": "Pinball loss over the quantiles; 0 is best.",
        "coverage": "Share of the values between the lowest and the highest quantile.",
    }


def _interval(shown: PartRecord[Any], name: str) -> str:
    low, high = shown.intervals.get(name, (np.nan, np.nan))
    return "" if np.isnan(low) else f" (95 % interval {low:.3f} to {high:.3f})"
