"""Training that withstands attacks, one recipe a file."""
