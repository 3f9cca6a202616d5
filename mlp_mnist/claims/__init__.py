"""Claims of the theory held against trained students of this rung, one a file: measured, judged and drawn."""
