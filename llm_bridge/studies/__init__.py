"""The studies: what the field argues about, each a set of arms with a random subset of the same size as control."""
