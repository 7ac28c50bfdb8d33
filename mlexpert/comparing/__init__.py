"""Several recipes on the same splits and seeds, from who takes part to the result."""
