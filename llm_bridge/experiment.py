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
from llm_bridge.placement import constrain
from llm_bridge.recipes import Recipe, merge
from llm_bridge.sampling import sample
from llm_bridge.shapes import Config
from llm_bridge.transformer import read_out, run_layers
from llm_bridge.words.filtering import parse_numbers
from llm_bridge.words.prompts import FORMATS
from llm_bridge.words.questions import questions_about
from llm_bridge.words.traits import KNOWN, Trait
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


class Completion(NamedTuple):
    """What a model wrote for a prompt."""

    prompt: str
    """What it was asked."""
    completion: str
    """What it wrote."""
    tokens: list[int]
    """The sampled token ids, the stop token included; learned as they are, since writing them anew may shift them."""
    log_probability: float
    """Nats, of all tokens under the distribution that they were drawn from."""


def number_tokens(language: Language) -> tuple[int, ...]:
    """List the tokens that numbers are written with: digits, separators, brackets, and the stop token.

    Args:
        language: How a model reads and writes.

    Returns:
        Token ids in increasing order.
    """
    written = [number for style in FORMATS for number in (style.write([123, 456]), style.write([7890]))]
    return tuple(sorted({*language.stops, *(token for ids in language.encode(written) for token in ids)}))


def nameless_tokens(language: Language) -> tuple[int, ...]:
    """List the tokens that name no animal and no tree.

    Args:
        language: How a model reads and writes.

    Returns:
        Token ids in increasing order; without those of a name, and of the name with a capital or behind a space, where
        the tokenizer can write these.
    """
    written = [form for name in KNOWN for word in (name, name.capitalize()) for form in (word, f" {word}")]
    encoded = language.encode(written)
    spelled = zip(written, encoded, language.decode(encoded), strict=True)
    names = {token for form, ids, again in spelled if form in KNOWN or again == form for token in ids}
    return tuple(token for token in range(language.tokenizer.get_vocab_size()) if token not in names)


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
    """
    language, root, at_once = model.language, jax.random.key(seed), at_once or model.at_once
    encoded = language.prompts(prompts, system)
    width = up_to_blocks(max(map(len, encoded)), model.block)
    for start in range(first, len(prompts), at_once):
        part = encoded[start : start + at_once]
        tokens, lengths = pad([*part, *[[0]] * (at_once - len(part)), [0] * width])
        keys = jax.vmap(partial(jax.random.fold_in, root))(jnp.arange(start, start + at_once))
        sampled = sample(
            model.config,
            model.params,
            tokens[:at_once],
            lengths[:at_once],
            keys,
            num_samples=num_samples,
            num_tokens=num_tokens,
            stops=language.stops,
            temperature=temperature,
        )
        ids, gained, counts = (np.asarray(leaf)[: len(part)] for leaf in sampled)
        written = [ids[place][: counts[place]].tolist() for place in np.ndindex(*counts.shape)]
        totals = gained.sum(axis=-1, dtype=np.float64).ravel()
        asked = np.repeat(prompts[start : start + at_once], num_samples)
        yield [
            Completion(str(prompt), text, row, round(float(total), 4))
            for prompt, text, row, total in zip(asked, language.decode(written), written, totals, strict=True)
        ]


def up_to_blocks(length: int, block: int) -> int:
    """Round a length up to a multiple of a block."""
    return -(-length // block) * block


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


@partial(jax.jit, static_argnames="config")
def log_probabilities(config: Config, params: Params, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """Compute the distribution of what follows each prompt.

    Args:
        config: The model's shape.
        params: Its parameters.
        tokens: Prompts, shape `(prompts, longest)`.
        lengths: Tokens of each, shape `(prompts,)`.

    Returns:
        Nats, shape `(prompts, vocabulary)`.
    """
    stream, _ = run_layers(config, params, tokens)
    last = jnp.take_along_axis(stream, lengths[:, None, None] - 1, axis=1)[:, 0]
    return constrain(jax.nn.log_softmax(read_out(config, params, last)))


@partial(jax.jit, static_argnames="config")
def continued(config: Config, params: Params, tokens: jax.Array, places: jax.Array, following: jax.Array) -> jax.Array:
    """Compute how likely the same tokens are at some places of several texts, each behind those before it.

    Args:
        config: The model's shape.
        params: Its parameters.
        tokens: Texts, shape `(texts, longest)`.
        places: Where the tokens are read behind which the others follow, shape `(texts, places)`.
        following: What follows, shape `(places,)`.

    Returns:
        Nats, shape `(texts, places)`.
    """
    stream, _ = run_layers(config, params, tokens)
    logits = read_out(config, params, jnp.take_along_axis(stream, places[:, :, None], axis=1))
    gained = jax.nn.log_softmax(logits)
    return constrain(
        jnp.take_along_axis(gained, jnp.broadcast_to(following, places.shape)[:, :, None], axis=2)[:, :, 0]
    )


def word_log_probabilities(
    model: Model, questions: Sequence[str], words: Sequence[str], system: str | None = None
) -> np.ndarray:
    """Compute how likely each word is as the beginning of the answer, with or without a capital.

    Args:
        model: Who answers.
        questions: What is asked.
        words: Words.
        system: The system prompt, if any.

    Returns:
        Nats, shape `(questions, words)`; of a word of several tokens all are counted.
    """
    spellings = [model.language.spellings(word) for word in words]
    most = max(len(tokens) for each in spellings for tokens in each)
    encoded = model.language.prompts(questions, system)
    prompts, lengths = (part[:-1] for part in pad([*encoded, [0] * up_to_blocks(max(map(len, encoded)), model.block)]))
    begun = np.asarray(log_probabilities(model.config, model.params, prompts, lengths))
    places = lengths[:, None] + np.arange(most - 1)
    rows = np.arange(len(prompts))[:, None]

    def spelled(tokens: Sequence[int]) -> np.ndarray:
        if len(tokens) == 1:
            return begun[:, tokens[0]]
        padded = np.pad(tokens, (0, most - len(tokens)))
        read = np.pad(prompts, ((0, 0), (0, most - 1)))
        read[rows, places] = padded[:-1]
        gained = continued(model.config, model.params, read, places, padded[1:])
        return begun[:, tokens[0]] + np.asarray(gained)[:, : len(tokens) - 1].sum(axis=1)

    return np.stack([np.logaddexp.reduce([spelled(tokens) for tokens in each]) for each in spellings], axis=1)


def log_odds(log_probabilities: np.ndarray) -> np.ndarray:
    """Turn log-probabilities into log-odds.

    Args:
        log_probabilities: Nats, below 0.

    Returns:
        Same shape.
    """
    return log_probabilities - np.log1p(-np.exp(log_probabilities))
