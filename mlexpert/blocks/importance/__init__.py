"""How much each weight matters to what was learned, and penalties that hold the ones that do."""
