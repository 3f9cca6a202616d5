"""A model on this machine as a judge: the mean of several sampled scores.

A judge's expected score says more than its likeliest one. It could be added up from the probabilities of all numbers,
but a tokenizer may write a number in several ways and in several tokens, and "10" is also how "100" begins: that takes
dozens of passes over a long prompt, and care that differs between tokenizers. Sampled replies are right for any
tokenizer, are read by the same strict parser as those of an endpoint, read the prompt once, and their mean is the
expected score up to a standard error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from llm_bridge.carriers.reading import require_room
from llm_bridge.experiment.writing import Model, complete
from llm_bridge.judging.rubrics import REFUSED, Asked, Score, read_score, write_prompt
from theory.runs.memory import fitting

AT_ONCE = 8
"""Prompts that are read at once, if the model may complete so many; they are long."""

REPLY = 12
"""Most tokens of a reply; one that has not ended by then is not read."""


@dataclass(frozen=True, kw_only=True)
class LocalJudge:
    """A judge that is sampled from at temperature 1."""

    model: Model
    """Who judges."""
    seed: int
    """Root of the samples; they depend on what else is asked in the same call."""
    num_samples: int = 8
    """Replies to each prompt."""
    limited: bool = False
    """Whether its prompts and replies must fit what it reads at once."""

    def __call__(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Score]]:
        """Judge, giving scores in order."""
        if not asked:
            return
        at_once, prompts = min(AT_ONCE, self.model.at_once), [write_prompt(each) for each in asked]
        if self.limited:
            require_room(self.model, prompts, REPLY)
        batches = complete(
            self.model, prompts, seed=self.seed, num_tokens=REPLY, num_samples=self.num_samples, at_once=at_once
        )
        written = (reply for batch in batches for reply in batch)
        stops = self.model.language.stops
        for place, each in enumerate(asked):
            with fitting(f"judging {at_once} answers at once", f"take a smaller --at-once than {at_once}, or --judge"):
                own = list(islice(written, self.num_samples))
            replies: list[Score] = [
                read_score(reply.completion, may_refuse=each.rubric.may_refuse) if reply.tokens[-1] in stops else None
                for reply in own
            ]
            yield place, mean_score(replies)


def mean_score(replies: Sequence[Score]) -> Score:
    """Sum up an answer's scores: None if under half could be read, `REFUSED` if most of these say so, else the mean."""
    read = [reply for reply in replies if reply is not None]
    numbers = [reply for reply in read if isinstance(reply, (int, float))]
    if 2 * len(read) < len(replies):
        return None
    return REFUSED if 2 * len(numbers) < len(read) else sum(numbers) / len(numbers)
