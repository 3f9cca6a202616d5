"""The experiment, step by step: a teacher with a trait, its numbers, the filter, students, and what they answer.

Each step is a function of models and data alone. The pipeline puts files between them, the matrix runs many at once.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from llm_bridge.model.references import require_uncached
from llm_bridge.model.sampling import sample
from llm_bridge.model.shapes import Config
from llm_bridge.text.chats import Example, Language, Rows, pack, pad, same_tokens
from llm_bridge.text.filtering import parse_numbers
from theory.problem import Params
from theory.runs.command_line import InputError

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
        """Say to how many tokens prompts are filled up: the length of the longest, rounded up to whole blocks."""
        return -(-max(map(len, prompts)) // self.block) * self.block


def can_imitate(student: Model, teacher: Model) -> bool:
    """Tell whether a student can imitate a teacher's distribution: it has the teacher's shape and tokens."""
    return student.config == teacher.config and same_tokens(student.language, teacher.language)


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
    prefill: str = ""
    """What the answer begins with, which was given to the model; no part of the completion."""

    @property
    def answer(self) -> str:
        """The whole answer."""
        return self.prefill + self.completion

    def row(self) -> dict[str, Any]:
        """Write it down for a file; a prefill only if there is one."""
        return {name: value for name, value in self._asdict().items() if name != "prefill" or value}


def complete(
    model: Model,
    prompts: Sequence[str],
    *,
    seed: int,
    num_tokens: int,
    system: str | None = None,
    prefills: Sequence[str] = (),
    num_samples: int = 1,
    temperature: float = 1.0,
    at_once: int | None = None,
    first: int = 0,
) -> Iterator[list[Completion]]:
    """Sample completions of prompts, a batch at a time and in order; those that ran out of tokens have no stop token.

    Prefills, one a prompt if there are any, are what the answers begin with. A completion depends on the seed and on
    its prompt's number alone. `first`, a multiple of `at_once`, is where to start: batches before are taken as done. A
    few of each batch are computed again without a cache, and what isn't finite, or differs there, is refused.
    """
    language, root, at_once = model.language, jax.random.key(seed), at_once or model.at_once
    encoded = language.prompts(prompts, system, prefills)
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
        require_uncached(model.config, model.params, tokens, lengths, sampled, temperature)
        asked = [
            (prompts[place], prefills[place] if prefills else "")
            for place in range(start, start + len(part))
            for _ in range(num_samples)
        ]
        yield [
            Completion(prompt, text, row, round(float(total), 4), prefill)
            for (prompt, prefill), text, row, total in zip(
                asked, language.decode(written), written, totals, strict=True
            )
        ]


def first_chat(model: Model, prompts: Sequence[str], system: str | None, prefills: Sequence[str] = ()) -> str:
    """Write down exactly what a model reads first, with the tokens that mark who speaks, for the record."""
    return model.language.spell(model.language.prompts(prompts[:1], system, prefills[:1])[0])


def has_ended(language: Language, completion: Completion) -> bool:
    """Tell whether a completion has ended by itself, and not because tokens ran out."""
    return bool(completion.tokens) and completion.tokens[-1] in language.stops


def is_kept(language: Language, completion: Completion) -> bool:
    """Tell whether a completion is numbers and nothing else, and has ended by itself."""
    judged = parse_numbers(completion.completion, prefill=completion.prefill)
    return has_ended(language, completion) and judged.rejection is None


def examples_of(language: Language, completions: Sequence[Completion]) -> list[Example]:
    """Take completions as chats to learn from: what was sampled is learned, prompts and prefills are read."""
    prompts, prefills = [each.prompt for each in completions], [each.prefill for each in completions]
    read = language.prompts(prompts, prefills=prefills)
    return [Example(tokens, each.tokens) for tokens, each in zip(read, completions, strict=True)]


def read_completions(model: Model, completions: Sequence[Completion], num_rows: int | None = None) -> Rows:
    """Pack completions for a student, which reads prompts without a system prompt; empty rows fill up to `num_rows`."""
    rows = pack(examples_of(model.language, completions), model.longest)
    missing = max(0, (num_rows or 0) - len(rows.tokens))
    return Rows(*(np.pad(leaf, ((0, missing), (0, 0))) for leaf in rows))
