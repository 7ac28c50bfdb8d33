"""Classes of sequences, one recipe a file."""
