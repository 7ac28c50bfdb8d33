"""What a model that gives labels is worth: its metrics, guardrails and sections."""
