"""The one trainer: nothing else moves the weights."""
