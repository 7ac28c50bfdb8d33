"""Layers that mix the tokens of a sequence: one signature, one mask convention, one state each."""
