"""How fast claims 1 and 2 are checked, beside other ways to compute the same numbers."""
