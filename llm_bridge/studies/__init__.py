"""The studies: what the field argues about, each a set of arms with random subsets or strangers as controls."""
