"""Forecasts of series over time."""
