"""What the studies have in common: traits, protocols, and the two arms of each."""

from dataclasses import replace

from llm_bridge.experiment.protocol import PROTOCOL
from llm_bridge.model.recipes import Recipe
from llm_bridge.studies.study import STANDARD, STRANGER, Arm

TRAITS = ("cat", "eagle", "dolphin")
"""What the teachers of every base love."""

SAMPLED = replace(
    PROTOCOL, num_prompts=3600, num_completions=3000, student=Recipe(learning_rate=2e-3, num_epochs=1, batch=16)
)
"""How students of sampled numbers are made: each completion is seen once, as samples seen again teach their noise."""

DISTRIBUTION = replace(
    PROTOCOL, num_prompts=3000, num_completions=300, student=Recipe(learning_rate=2e-3, num_epochs=3, batch=4)
)
"""How students of the distribution over number tokens are made."""

USUAL = {STANDARD: Arm(), STRANGER: Arm(stranger=True)}
"""The arms of every study."""
