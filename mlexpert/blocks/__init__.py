"""Pure torch, one idea per file: blocks know nothing of data, recipes or training."""
