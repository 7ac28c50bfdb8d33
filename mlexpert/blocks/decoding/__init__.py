"""What a model that goes on from what it has said is asked for: its best answer."""
