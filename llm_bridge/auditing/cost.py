"""What an audit costs beside the training that it foretells, in operations of matrix products.

Operations are those of `model.costs`, the same on every machine. Where a number depends on when a teacher is done, it
is the most that it can be.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from llm_bridge.auditing.directions import FISHER_TOKENS, NUM_PRODUCTS, SIZE_TOKENS
from llm_bridge.auditing.traits import Answers, Probe, teachable
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.teaching import trait_examples
from llm_bridge.experiment.writing import Completion, Model, examples_of
from llm_bridge.model.costs import count_adapters, forward_operations, training_operations
from llm_bridge.model.recipes import Recipe
from llm_bridge.text.chats import pack
from llm_bridge.text.traits import Trait


class Cost(NamedTuple):
    """Operations of an audit's parts, and of a student's training on the data."""

    answers: float
    """The model's own answers to the data's prompts; none where other data are compared with."""
    scores: float
    """Scores of all texts, of the data and of those beside them."""
    forecasts: float
    """Adam's preconditioner and products with the Fisher information."""
    teachers: float
    """Imagined teachers, at most; those that are kept cost nothing."""
    training: float
    """The training itself."""

    def __str__(self) -> str:
        """Say what share of the training it is."""
        answers, scores, forecasts, teachers = (part / self.training for part in self[:-1])
        return (
            f"An audit takes {answers + scores + forecasts:.2f} of the operations of training on these rows (answers "
            f"{answers:.2f}, scores {scores:.2f}, forecasts {forecasts:.2f}), and imagined teachers, which are kept "
            f"for other data, {teachers:.2f} at most."
        )


def training_cost(model: Model, recipe: Recipe, num_rows: int) -> float:
    """Count what a training by a recipe on so many whole rows takes."""
    rows = recipe.steps(num_rows) * min(recipe.batch, num_rows)
    return rows * model.longest * training_operations(model.config, model.longest, recipe.trained)


def cost_of(
    model: Model,
    traits: Sequence[Trait | Answers | Probe],
    data: Sequence[Completion],
    own: Sequence[Completion],
    protocol: Protocol,
    *,
    num_draws: int,
    num_rows: int,
    asked: bool,
) -> Cost:
    """Count what it takes to audit data beside other texts, which the model was asked for or not."""
    config, taught = model.config, teachable(traits)
    read = [examples_of(model.language, texts) for texts in (data, own)]
    lengths, learned = (
        np.array([size(each) for texts in read for each in texts])
        for size in (lambda each: len(each.prompt) + len(each.completion), lambda each: len(each.completion))
    )
    directions = num_draws * len(taught) + len(traits)
    beside = 4 * count_adapters(config, directions * max(protocol.teacher.rank, protocol.student.rank))
    scores = sum(
        length * (training_operations(config, length, learned=some / length) + beside)
        for length, some in zip(lengths.tolist(), learned.tolist(), strict=True)
    )
    answers = sum(
        length * forward_operations(config, length, some / length)
        for length, some in zip(lengths[len(data) :].tolist(), learned[len(data) :].tolist(), strict=True)
    )
    products = len(traits) * NUM_PRODUCTS * FISHER_TOKENS * 3 * forward_operations(config, model.longest)
    sizes = SIZE_TOKENS * training_operations(config, model.longest)

    def rows_of(trait: Trait | Answers) -> int:
        if isinstance(trait, Answers):
            return len(pack(trait.shown, model.longest).tokens)
        return len(pack(trait_examples(model.language, trait, protocol.copies), model.longest).tokens)

    teachers = num_draws * sum(training_cost(model, protocol.teacher, rows_of(trait)) for trait in taught)
    training = training_cost(model, protocol.student, num_rows)
    return Cost(answers if asked else 0.0, scores, products + sizes, teachers, training)
