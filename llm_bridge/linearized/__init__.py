"""The bridge: the theory's own predictions on the tiny language model, beside what its students really do."""
