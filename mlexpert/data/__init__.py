"""What comes in: reading, roles, schema, splits, the sealed test, leakage and fingerprints."""
