"""Layers whose output is one structure: a whole sequence of tags instead of a tag per word."""
