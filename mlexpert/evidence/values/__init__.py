"""What a model that predicts a number is worth: its metrics, guardrails, figures and sections."""
