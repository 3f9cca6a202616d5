"""What the stages of the pipeline leave for each other: rows of text, checkpoints, and where both come from."""
