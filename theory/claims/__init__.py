"""The claims, in the order in which the theory builds on itself; one file each."""

from theory.claims import alignment, different_initialization, null_space, trait_loss

CLAIMS = {module.CLAIM.name: module.CLAIM for module in (alignment, trait_loss, null_space, different_initialization)}
"""Every claim by name."""
