"""Streams of tasks: which rows come when, and what is known when."""
