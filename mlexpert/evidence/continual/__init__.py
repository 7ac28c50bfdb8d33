"""What a stream of tasks left in a network: its record, metrics, figures and sections."""
