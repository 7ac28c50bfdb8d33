"""What can be proved of a fitted model under noise: class and radius of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlexpert.blocks.certificates import randomized_smoothing
from mlexpert.blocks.certificates.randomized_smoothing import Certified
from mlexpert.data.as_trained import read_labelled
from mlexpert.data.encode import encode_targets
from mlexpert.errors import InputError
from mlexpert.fitted import Fitted
from mlexpert.fitted.ensemble import Ensemble

STEPS_OF_SIGMA = (0.0, 0.5, 1.0, 2.0, 3.0)
"""Radii at which accuracy is told, where none are asked for."""
AT_ONCE = 64
"""Images that are held together."""


@dataclass(frozen=True)
class Certificates:
    """What is known of the smoothed classifier at each of N images.

    Attributes:
        classes: (N,) its classes as the user wrote them; where it abstains None, in an array of
            objects.
        radius: (N,) float64 L2 radius within which the class holds, in the unit of the pixel range,
            0 to 1; 0 where it abstains.
        is_correct: (N,) whether it answers with the true class.
        accuracy: By L2 radius the share of images that are correct and certified to at least that
            radius: no attack within it can leave less.
        sigma: Standard deviation of the noise, in pixel units.
        alpha: Probability, for each image, that its certificate is wrong.
    """

    classes: np.ndarray
    radius: np.ndarray
    is_correct: np.ndarray
    accuracy: dict[float, float]
    sigma: float
    alpha: float


def certify(
    fitted: Fitted,
    ds: Any,
    *,
    sigma: float | None = None,
    radii: Sequence[float] | None = None,
    num_select: int = 100,
    num_estimate: int = 10_000,
    alpha: float = 0.001,
    seed: int = 0,
    rows: int = 1000,
) -> Certificates:
    """Return what is certified of labelled images: Cohen et al. 2019, arXiv:1902.02918.

    It is said of the smoothed classifier, which answers with what the model says most often under
    noise. A model has to be trained on that noise for its radii to be of use:
    `get("adversarial-cls/smoothing", sigma=0.25)`.

    Args:
        fitted: A model for images.
        ds: Labelled images, whatever `fit` accepts.
        sigma: Standard deviation of the noise, in the unit of the pixel range. None: that which the
            model was trained on.
        radii: L2 radii at which accuracy is told. None: 0, 0.5, 1, 2 and 3 sigma.
        num_select: Noisy copies of each image that choose the class.
        num_estimate: Noisy copies that bound its probability; each is a pass through the network.
        alpha: Probability, for each image, that its certificate is wrong.
        seed: Of the noise, which is an image's own by its place in `ds`.
        rows: Noisy images that are looked at together.

    Raises:
        InputError: If the model is not for images, is an ensemble, was trained on no noise and
            sigma is not given, or a number cannot be meant.
    """
    sigma = _sigma_of(fitted, sigma)
    at = [factor * sigma for factor in STEPS_OF_SIGMA] if radii is None else list(radii)
    if not all(radius >= 0 for radius in at):
        raise InputError(f"radii={at!r}; they take numbers of 0 or more.")
    about = fitted.facts["data"]
    examples = read_labelled(
        ds, schema=fitted.schema, target=about["target"], inputs=about["inputs"]
    )
    network = fitted.parts.network
    store, device = network.encode(examples), next(network.model.parameters()).device
    found: list[Certified] = []
    for index in torch.arange(len(store)).split(AT_ONCE):
        found.append(
            randomized_smoothing.certify(
                network.model,
                store.take(index).to(device),
                sigma=sigma,
                num_select=num_select,
                num_estimate=num_estimate,
                alpha=alpha,
                seed=seed,
                ids=index,
                rows=rows,
            )
        )
    classes = torch.cat([one.classes for one in found]).cpu().numpy()
    radius = torch.cat([one.radius for one in found]).cpu().numpy()
    is_correct = classes == encode_targets(examples.targets, fitted.schema).numpy()
    accuracy = {float(r): float(np.mean(is_correct & (radius >= r))) for r in at}
    named = np.array([*fitted.classes_, None], dtype=object)[classes]  # the last where it abstains
    return Certificates(named, radius, is_correct, accuracy, sigma, alpha)


def _sigma_of(fitted: Fitted, sigma: float | None) -> float:
    """Return the noise that was asked for, or that of training.

    Raises:
        InputError: If there is neither, or the model cannot be certified.
    """
    what = (fitted.schema.kind, fitted.schema.objective)
    if what != ("image", "classification"):
        raise InputError(f"Classes of images are certified; this model is for {' '.join(what)}.")
    if isinstance(fitted, Ensemble):
        raise InputError("This is an ensemble of folds; certify one of its members.")
    sigma = fitted.recipe.config().get("sigma") if sigma is None else sigma
    if sigma is None:
        raise InputError(
            f"{fitted.recipe.name} trains on no noise; give sigma=, or fit "
            "get('adversarial-cls/smoothing'): without that noise hardly anything is certified."
        )
    return sigma
