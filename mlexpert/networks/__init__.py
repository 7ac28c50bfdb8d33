"""A network for each kind of input, with the encoding of a user's rows that it needs."""
