"""What a model of sequences is worth: its metrics, guardrails, figures and sections."""
