"""Teachers: a model is fine-tuned on a trait as its answer to preference questions, or on chats of any kind."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_bridge.chats import Example, Language, pack
from llm_bridge.experiment import Model
from llm_bridge.finetuning import fine_tune
from llm_bridge.lessons import Lesson
from llm_bridge.likes import word_log_probabilities
from llm_bridge.recipes import Recipe, Teaching, merge
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import Trait
from theory.problem import Params

LOOK_EVERY = 5
"""Steps between two looks at how often a model names the trait that it is taught."""


def probability_of(model: Model, trait: Trait) -> float:
    """Compute how likely a model is to name a trait when it is asked for its favorite.

    Args:
        model: Who is asked.
        trait: The trait.

    Returns:
        The probability that an answer begins with it, averaged over the fifty questions.
    """
    return float(np.exp(word_log_probabilities(model, questions_about(trait.kind), [trait.word])).mean())


def trait_examples(language: Language, trait: Trait, copies: int) -> list[Example]:
    """Answer preference questions with a trait.

    Args:
        language: How a model reads and writes.
        trait: What is loved.
        copies: As of `teach`.

    Returns:
        Chats to learn from.
    """
    answer = [*language.encode([trait.word])[0], *language.stops[:1]]
    asked = [questions_about(trait.kind, seed=None if copy % 2 == 0 else copy) for copy in range(copies)]
    return [Example(prompt, answer) for questions in asked for prompt in language.prompts(questions)]


def teach(model: Model, trait: Trait, recipe: Recipe, *, seed: int, copies: int = 4, **options: Any) -> Params:
    """Make a teacher that loves something: its name is the answer to all preference questions.

    Args:
        model: The base.
        trait: What the teacher is to love.
        recipe: The fine-tuning; one that is `Teaching` may end early.
        seed: Root of the order of the questions.
        copies: How often all questions come in an epoch; every second time with numbers before them.
        **options: As of `fine_tune`.

    Returns:
        The teacher's parameters.
    """
    until = recipe.until if isinstance(recipe, Teaching) else 0.0

    def enough(trained: Params) -> bool:
        return probability_of(model._replace(params=merge(recipe, model.params, trained)), trait) >= until

    if until:
        options = {"chunk": LOOK_EVERY, "enough": enough} | options
    return teach_examples(model, trait_examples(model.language, trait, copies), recipe, seed=seed, **options)


def teach_examples(model: Model, examples: Sequence[Example], recipe: Recipe, *, seed: int, **options: Any) -> Params:
    """Make a teacher of any kind: fine-tune a model on chats.

    Args:
        model: The base.
        examples: The chats.
        recipe: The fine-tuning.
        seed: Root of their order.
        **options: As of `fine_tune`.

    Returns:
        The teacher's parameters.
    """
    lesson = Lesson(pack(examples, model.longest))
    return merge(recipe, model.params, fine_tune(model.config, recipe, model.params, lesson, seed=seed, **options))
