"""How much a model withstands: attacks on it, and whether what they find can be believed."""
