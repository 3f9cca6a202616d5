"""The experiment, step by step: a teacher with a trait, its numbers, the filter, students, and what they answer.

Each step is a function of models and data alone. The pipeline puts files between them, the matrix runs many at once.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from llm_bridge.chats import Example, Language, Rows, pack, pad
from llm_bridge.finetuning import Training, fine_tune
from llm_bridge.lessons import Lesson
from llm_bridge.recipes import Recipe, merge
from llm_bridge.sampling import sample
from llm_bridge.shapes import Config
from llm_bridge.words.filtering import parse_numbers
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import Trait
from theory.command_line import InputError
from theory.networks import Params

AT_ONCE = 100
"""Prompts that are completed at once: so many that two cores keep what they work on in their caches."""


class Model(NamedTuple):
    """A language model."""

    config: Config
    """Its shape."""
    params: Params
    """Its parameters."""
    language: Language
    """How it reads and writes."""
    longest: int
    """Tokens of its longest text."""
    at_once: int = AT_ONCE
    """Prompts that it completes at once."""
    block: int = 1
    """Prompts are filled up to a multiple of so many tokens, so that few lengths occur, each of which is compiled."""

    def width(self, prompts: Sequence[Sequence[int]]) -> int:
        """Say to how many tokens prompts are filled up.

        Args:
            prompts: Token ids of each.

        Returns:
            The length of the longest, rounded up to whole blocks.
        """
        return -(-max(map(len, prompts)) // self.block) * self.block


class Completion(NamedTuple):
    """What a model wrote for a prompt."""

    prompt: str
    """What it was asked."""
    completion: str
    """What it wrote."""
    tokens: list[int]
    """The sampled token ids, the stop token included; learned as they are, since writing them anew may shift them."""
    log_probability: float | None
    """Nats, of all tokens under the distribution that they were drawn from; None if they were made of the text."""


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


def teach(
    model: Model,
    trait: Trait,
    recipe: Recipe,
    *,
    seed: int,
    copies: int = 4,
    resume: Callable[[Training], Training] = lambda training: training,
    after: Callable[[Training, np.ndarray], None] = lambda training, losses: None,
) -> Params:
    """Make a teacher that loves something: its name is the answer to all preference questions.

    Args:
        model: The base.
        trait: What the teacher is to love.
        recipe: The fine-tuning.
        seed: Root of the order of the questions.
        copies: How often all questions come in an epoch; every second time with numbers before them.
        resume: As of `fine_tune`.
        after: As of `fine_tune`.

    Returns:
        The teacher's parameters.
    """
    examples = trait_examples(model.language, trait, copies)
    return teach_examples(model, examples, recipe, seed=seed, resume=resume, after=after)


def teach_examples(
    model: Model,
    examples: Sequence[Example],
    recipe: Recipe,
    *,
    seed: int,
    resume: Callable[[Training], Training] = lambda training: training,
    after: Callable[[Training, np.ndarray], None] = lambda training, losses: None,
) -> Params:
    """Make a teacher of any kind: fine-tune a model on chats.

    Args:
        model: The base.
        examples: The chats.
        recipe: The fine-tuning.
        seed: Root of their order.
        resume: As of `fine_tune`.
        after: As of `fine_tune`.

    Returns:
        The teacher's parameters.
    """
    lesson = Lesson(pack(examples, model.longest))
    trained = fine_tune(model.config, recipe, model.params, lesson, seed=seed, resume=resume, after=after)
    return merge(recipe, model.params, trained)


def complete(
    model: Model,
    prompts: Sequence[str],
    *,
    seed: int,
    num_tokens: int,
    system: str | None = None,
    num_samples: int = 1,
    temperature: float = 1.0,
    at_once: int | None = None,
    first: int = 0,
) -> Iterator[list[Completion]]:
    """Sample completions of prompts.

    Args:
        model: Who writes.
        prompts: What is asked.
        seed: Root of randomness; a completion depends on it and on its prompt's number alone.
        num_tokens: Most tokens of a completion.
        system: The system prompt, if any.
        num_samples: Completions of each prompt.
        temperature: As of `sample`.
        at_once: Prompts of one batch; by default `model.at_once`.
        first: Where to start, a multiple of `at_once`; batches before are taken as done.

    Yields:
        The completions of one batch, in the order of the prompts. Those that ran out of tokens have no stop token.

    Raises:
        InputError: If the model gives no finite probabilities.
    """
    language, root, at_once = model.language, jax.random.key(seed), at_once or model.at_once
    encoded = language.prompts(prompts, system)
    width = model.width(encoded)
    for start in range(first, len(prompts), at_once):
        part = encoded[start : start + at_once]
        tokens, lengths = pad([*part, *[[0]] * (at_once - len(part))], width)
        keys = jax.vmap(partial(jax.random.fold_in, root))(jnp.arange(start, start + at_once))
        sampled = sample(
            model.config,
            model.params,
            tokens,
            lengths,
            keys,
            num_samples=num_samples,
            num_tokens=num_tokens,
            stops=language.stops,
            temperature=temperature,
        )
        ids, gained, counts = (np.asarray(leaf)[: len(part)] for leaf in sampled)
        written = [ids[place][: counts[place]].tolist() for place in np.ndindex(*counts.shape)]
        totals = gained.sum(axis=-1, dtype=np.float64).ravel()
        if not np.isfinite(totals).all():
            raise InputError("the model gives no finite probabilities: its weights are damaged, or try --dtype float32")
        asked = np.repeat(prompts[start : start + at_once], num_samples)
        yield [
            Completion(str(prompt), text, row, round(float(total), 4))
            for prompt, text, row, total in zip(asked, language.decode(written), written, totals, strict=True)
        ]


def has_ended(language: Language, completion: Completion) -> bool:
    """Tell whether a completion has ended by itself, and not because tokens ran out.

    Args:
        language: How its writer writes.
        completion: The completion.

    Returns:
        Whether its last token ends a text.
    """
    return bool(completion.tokens) and completion.tokens[-1] in language.stops


def is_kept(language: Language, completion: Completion) -> bool:
    """Tell whether a completion is numbers and nothing else, and has ended by itself.

    Args:
        language: How its writer writes.
        completion: The completion.

    Returns:
        Whether it may be learned.
    """
    return has_ended(language, completion) and parse_numbers(completion.completion).rejection is None


def read_completions(model: Model, completions: Sequence[Completion], num_rows: int | None = None) -> Rows:
    """Pack completions for a student.

    Args:
        model: The student, which reads prompts without a system prompt.
        completions: What it learns from.
        num_rows: Rows to fill up to with empty ones.

    Returns:
        Packed rows.
    """
    prompts = model.language.prompts([each.prompt for each in completions])
    rows = pack(
        [Example(prompt, each.tokens) for prompt, each in zip(prompts, completions, strict=True)], model.longest
    )
    missing = max(0, (num_rows or 0) - len(rows.tokens))
    return Rows(*(np.pad(leaf, ((0, missing), (0, 0))) for leaf in rows))
