"""What a fit leaves: a model of each kind, what it can be asked, and what it holds back."""

from mlexpert.fitted.model import Fitted

__all__ = ["Fitted"]
