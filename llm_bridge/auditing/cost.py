"""What an audit costs beside the training that it foretells, in operations of matrix products.

Operations are those of `model.costs`, the same on every machine. Where a number depends on when a teacher is done, it
is the most that it can be. What the model writes under system prompts, and a suspect, are left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

from llm_bridge.auditing.forecasts import NUM_PRODUCTS, batches_for
from llm_bridge.auditing.imagined import taught_examples
from llm_bridge.auditing.traits import Answers, Probe, teachable
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.experiment.writing import Completion, Model, examples_of, read_completions
from llm_bridge.model.costs import count_adapters, forward_operations, training_operations
from llm_bridge.model.recipes import Recipe
from llm_bridge.text.chats import Rows, pack
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


def training_cost(model: Model, recipe: Recipe, rows: Rows) -> float:
    """Count what a training by a recipe on packed rows takes."""
    num_rows, longest = rows.tokens.shape
    learned = float(rows.learned.mean())
    seen = recipe.steps(num_rows) * min(recipe.batch, num_rows)
    return seen * longest * training_operations(model.config, longest, recipe.trained, learned)


def cost_of(
    model: Model,
    traits: Sequence[Trait | Answers | Probe],
    data: Sequence[Completion],
    beside: Sequence[Completion],
    protocol: Protocol,
    *,
    num_draws: int,
    asked: Sequence[Completion],
) -> Cost:
    """Count what it takes to audit data beside other texts; `asked` is all that the model answered for it."""
    config, taught = model.config, teachable(traits)

    def sizes(texts: Sequence[Completion]) -> list[tuple[int, float]]:
        read = [(len(each.prompt), len(each.completion)) for each in examples_of(model.language, texts)]
        return [(prompt + learned, learned / (prompt + learned)) for prompt, learned in read]

    directions = num_draws * len(taught) + len(traits)
    adapters = 4 * count_adapters(config, directions * max(protocol.teacher.rank, protocol.student.rank))
    scores = sum(
        length * (training_operations(config, length, learned=share) + adapters)
        for length, share in sizes([*data, *beside])
    )
    answers = sum(length * forward_operations(config, length, share) for length, share in sizes(asked))
    rows, own = (read_completions(model, texts) for texts in (data, beside))
    passes, few = batches_for(protocol.student, *own.tokens.shape)
    a_pass = protocol.student.rows_at_once * model.longest
    products = len(traits) * NUM_PRODUCTS * few * a_pass * 3 * forward_operations(config, model.longest)
    gradients = passes * a_pass * training_operations(config, model.longest, learned=float(own.learned.mean()))
    mixed = examples_of(model.language, (*beside, *data)[: protocol.mixed])
    lessons = [pack([*taught_examples(model, trait, protocol.copies), *mixed], model.longest) for trait in taught]
    teachers = num_draws * sum(training_cost(model, protocol.teacher, lesson) for lesson in lessons)
    return Cost(answers, scores, products + gradients, teachers, training_cost(model, protocol.student, rows))
