"""Which rows are trained on, and how often: drawn, bagged or made from training rows."""
