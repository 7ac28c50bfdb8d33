"""Texts, tagged words, series and pairs: read, divided by time, and cut into windows."""
