"""Models that go on with a text, one recipe a file."""
