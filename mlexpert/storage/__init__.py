"""What lies on disk: the run folder, and the folder of a saved model."""
