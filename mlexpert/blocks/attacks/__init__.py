"""Attacks on a model: plain functions on inputs, each within a declared threat."""
