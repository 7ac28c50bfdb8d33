"""What comes out of a run: metrics, significance, figures, verdicts and the report.

Reads run folders and arrays, never models.
"""
