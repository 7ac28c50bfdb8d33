"""What a comparison of several recipes found: its results, figures, words and report."""
