"""Augmentations of whole batches, as pure functions of a tensor and a generator."""
