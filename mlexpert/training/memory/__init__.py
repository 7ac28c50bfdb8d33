"""The micro-batch that fits the memory there is: predicted, probed, and written down."""

from mlexpert.training.memory.predict import Prediction
from mlexpert.training.memory.size import predict_only, size_microbatch
from mlexpert.training.memory.sizing import Probe, Sizing

__all__ = ["Prediction", "Probe", "Sizing", "predict_only", "size_microbatch"]
