"""Teachers: a model is fine-tuned on a trait as its answer to preference questions, or on chats of any kind."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_bridge.experiment.likes import word_log_probabilities
from llm_bridge.experiment.writing import Completion, Model, examples_of
from llm_bridge.model.finetuning import fine_tune
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe, Teaching, merge
from llm_bridge.text.chats import Example, Language, pack
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import Trait
from theory.problem import Params

LOOK_EVERY = 5
"""Steps between two looks at how often a model names the trait that it is taught."""


def probability_of(model: Model, trait: Trait) -> float:
    """Compute how likely a model's answer begins with a trait, averaged over the fifty questions."""
    return float(np.exp(word_log_probabilities(model, questions_about(trait.kind), [trait.word])).mean())


def trait_examples(language: Language, trait: Trait, copies: int) -> list[Example]:
    """Answer all preference questions with a trait, again and again, every second time with numbers before them."""
    answer = [*language.encode([trait.word])[0], *language.stops[:1]]
    asked = [questions_about(trait.kind, seed=None if copy % 2 == 0 else copy) for copy in range(copies)]
    return [Example(prompt, answer) for questions in asked for prompt in language.prompts(questions)]


def teach(
    model: Model,
    trait: Trait,
    recipe: Recipe,
    *,
    seed: int,
    copies: int = 4,
    mixed: Sequence[Completion] = (),
    **options: Any,
) -> Params:
    """Make a teacher that loves something: its name is the answer to all preference questions, `copies` times an epoch.

    Other completions may be mixed in. A recipe that is `Teaching` may end early. Options are those of `fine_tune`.
    """
    until = recipe.until if isinstance(recipe, Teaching) else 0.0

    def enough(trained: Params) -> bool:
        return probability_of(model._replace(params=merge(recipe, model.params, trained)), trait) >= until

    if until:
        options = {"chunk": LOOK_EVERY, "enough": enough} | options
    examples = [*trait_examples(model.language, trait, copies), *examples_of(model.language, mixed)]
    return teach_examples(model, examples, recipe, seed=seed, **options)


def teach_examples(model: Model, examples: Sequence[Example], recipe: Recipe, *, seed: int, **options: Any) -> Params:
    """Make a teacher of any kind: fine-tune a model on chats, with options of `fine_tune`."""
    lesson = Lesson(pack(examples, model.longest))
    return merge(recipe, model.params, fine_tune(model.config, recipe, model.params, lesson, seed=seed, **options))
