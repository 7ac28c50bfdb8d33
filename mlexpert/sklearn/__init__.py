"""Recipes as scikit-learn estimators, for pipelines, searches, cross-validation and calibration.

from mlexpert.sklearn import RecipeClassifier
"""

from mlexpert.sklearn.estimators import RecipeClassifier, RecipeRegressor

__all__ = ["RecipeClassifier", "RecipeRegressor"]
