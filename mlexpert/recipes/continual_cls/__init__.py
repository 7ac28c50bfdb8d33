"""Classification of a stream: task after task, without forgetting those before."""
