"""What stands between a recipe and its fitted model: a fit, its folds, and trials before it."""
