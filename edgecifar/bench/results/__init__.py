"""The result of a bench: its rows, its schema, comparisons, gates."""
