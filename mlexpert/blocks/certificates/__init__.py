"""What can be proved of a model's answers, whatever attack is made."""
