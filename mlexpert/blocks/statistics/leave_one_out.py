"""Ridge regression whose penalty is the best for rows left out, one by one, in closed form.

For few rows with many features: the work is that of one eigendecomposition as wide as the smaller
of the two numbers.

Papers: Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634, equation 2.1; leaving one row
    out divides its residual by one less its leverage (Hastie et al. 2009, The Elements of
    Statistical Learning, equation 7.64).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

PENALTIES = torch.logspace(-8, 2, 41, dtype=torch.float64)
"""That are tried, in units of the mean eigenvalue of the rows' products."""
ROWS = 4096
"""Whose products are added at once, in float64."""
ROUNDING = 1e-12
"""Share of the largest eigenvalue below which another is none."""


class Ridge(NamedTuple):
    """What was solved for."""

    weight: Tensor
    """(P, K) float64."""
    bias: Tensor
    """(K,) float64."""
    left_out: Tensor
    """(N, K) float64: of every row, by the solution of the others."""
    penalty: float
    """In units of the mean eigenvalue."""


def ridge_by_leave_one_out(
    features: Tensor, outputs: Tensor, weights: Tensor | None = None
) -> Ridge:
    """Return the ridge solution of which rows left out have the least squared error.

    Args:
        features: (N, P); best standardised, as one penalty is for all.
        outputs: (N, K).
        weights: (N,) how much each row counts. None: 1.
    """
    share = torch.ones(len(features), dtype=torch.float64, device=features.device)
    share = share if weights is None else weights.double()
    part = share / share.sum()
    centre = part @ outputs.double()
    middle = part.to(features.dtype) @ features
    root = share.sqrt()[:, None]
    rows, wanted = (features - middle) * root.to(features.dtype), (outputs.double() - centre) * root
    values, vectors = _decomposed(rows, root)
    turned = vectors.T @ wanted
    best: tuple[float, float, Tensor] | None = None
    scale = float(values.mean()) if len(values) else 1.0  # all rows are one: any penalty does
    for penalty in (PENALTIES * scale).tolist():
        kept = values / (values + penalty)
        leverage = vectors.square() @ kept + part
        residual = (wanted - vectors @ (kept[:, None] * turned)) / (1 - leverage)[:, None]
        error = float(residual.square().sum())
        if best is None or error < best[0]:
            best = error, penalty, residual
    assert best is not None, "some penalty is tried"
    _, penalty, residual = best
    dual = vectors @ (turned / (values + penalty)[:, None])
    weight = torch.cat([columns.double().T @ dual for columns in rows.split(ROWS, dim=1)])
    left_out = outputs.double() - residual / root.clamp_min(1e-30)
    bias = centre - middle.double() @ weight
    return Ridge(weight, bias, left_out, penalty / scale)


def _decomposed(rows: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (R,) of the centred rows' products above 0, and their vectors (N, R).

    Args:
        rows: (N, P), each times the root of its weight.
        root: (N, 1), these roots.
    """
    size, width = rows.shape
    if size <= width:
        gram = _products(rows.mT)
        # Rounding of the centre would give the constant a little leverage, which is a lot beside
        # what a small penalty leaves.
        constant = root / root.norm()
        gram -= constant @ (constant.T @ gram)
        gram -= (gram @ constant) @ constant.T
        values, vectors = torch.linalg.eigh(gram)
        is_real = values > values[-1] * ROUNDING
        return values[is_real], vectors[:, is_real]
    values, directions = torch.linalg.eigh(_products(rows))
    is_real = values > values[-1] * ROUNDING
    values = values[is_real]
    return values, rows.double() @ directions[:, is_real] / values.sqrt()


def _products(rows: Tensor) -> Tensor:
    """Return X^T X (P, P) in float64, of rows X (N, P)."""
    gram = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for part in rows.split(ROWS):
        gram.addmm_(part.double().T, part.double())
    return gram
