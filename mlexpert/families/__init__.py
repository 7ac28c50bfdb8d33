"""What recipes of a family share: their fields, networks, and parts of a fit."""
