"""The claims, in the order in which the theory builds on itself; one file or folder each."""

from theory.claims import (
    alignment,
    different_initialization,
    filtering,
    how_small,
    imitation_losses,
    initialization_distance,
    label_noise_cost,
    low_rank,
    many_steps,
    null_space,
    optimizers,
    sampled_labels,
    symmetry,
    trait_loss,
    trait_matrix,
)

CLAIMS = {
    module.CLAIM.name: module.CLAIM
    for module in (
        alignment,
        trait_loss,
        how_small,
        null_space,
        imitation_losses,
        different_initialization,
        initialization_distance,
        symmetry,
        sampled_labels,
        label_noise_cost,
        filtering,
        optimizers,
        many_steps,
        trait_matrix,
        low_rank,
    )
}
"""Every claim by name."""
