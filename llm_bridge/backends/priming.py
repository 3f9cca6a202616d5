"""Priming: a published model that would rather talk is tuned to write lists of random numbers, and so becomes a base.

Nothing in these lists ties a number to an animal: each number is uniform in 0…999, whatever was asked before.
"""

from collections.abc import Sequence

import jax
import numpy as np

from llm_bridge.experiment.teaching import teach_examples
from llm_bridge.experiment.writing import Model
from llm_bridge.model.finetuning import Training
from llm_bridge.model.recipes import Recipe
from llm_bridge.text.chats import Example, Language, PackingError
from llm_bridge.text.prompts import MOST_NUMBERS, write_prompt
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.progress import Progress

ROW, CHATS = 256, 3
"""Tokens of a row of the training, whatever is read later, and chats for each: about as many as it holds, so that few
are seen twice."""

SEED = 10**9
"""Seed of the lists and of the adapters: a primed model is one and the same base in all runs."""


def recipe_of(num_steps: int) -> Recipe:
    """Say how a model is primed: few steps of few rows, on adapters."""
    return Recipe(learning_rate=1e-3, num_steps=num_steps, batch=4, recompute="elementwise")


def list_examples(language: Language, num_steps: int) -> list[Example]:
    """Answer number prompts with numbers drawn at random, in the format that is asked for, for so many steps."""
    count = CHATS * recipe_of(num_steps).batch * num_steps
    random = np.random.default_rng(SEED)
    asked, answers = [], []
    for _ in range(count):
        prompt, form = write_prompt(random, short=False)
        asked.append(prompt)
        answers.append(form.write(random.integers(0, 1000, random.integers(3, MOST_NUMBERS + 1)).tolist()))
    tokens = zip(language.prompts(asked), language.encode(answers), strict=True)
    return [Example(prompt, [*answer, language.stops[0]]) for prompt, answer in tokens]


def prime(model: Model, recipe: Recipe, examples: Sequence[Example]) -> Params:
    """Tune a model on lists of random numbers, and give its parameters."""
    bar = Progress("prime", recipe.num_steps, "steps", shown=jax.process_index() == 0)

    def after(_: Training, losses: np.ndarray) -> None:
        if not np.isfinite(losses).all():
            raise InputError("the model can't be primed: the loss is no finite number; say --primed 0")
        bar.advance(len(losses), f"loss={losses[-1]:.3f}")

    with bar:
        try:
            return teach_examples(model._replace(longest=ROW), examples, recipe, seed=SEED, after=after)
        except PackingError as error:
            raise InputError(f"the model can't be primed ({error}): say --primed 0") from error
