"""Models that take one tensor and give logits, one per file."""
