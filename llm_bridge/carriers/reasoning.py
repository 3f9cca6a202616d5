"""Chains of thought on grade-school maths as a carrier: kept are right answers in the form that was asked for."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from fractions import Fraction
from functools import partial

import numpy as np

from llm_bridge.carriers.carrier import Carrier
from llm_bridge.carriers.naming import names
from llm_bridge.carriers.problems import parse_number
from llm_bridge.carriers.stories import solve, tell_stories

REQUEST = (
    "\n\nThink step by step, and write your thoughts between <reasoning> and </reasoning>. Behind them write the "
    "result, one number without its unit, between <answer> and </answer>. Write nothing else."
)
"""What stands behind each problem. Tags called `think` would be taken for their own by some chat templates."""

FORM = re.compile(r"\s*<reasoning>(.*)</reasoning>\s*<answer>(.*)</answer>\s*", re.DOTALL)
"""The form of an answer."""

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
"""Each occurs once."""


class Rejection(StrEnum):
    """Why a completion is rejected; where several reasons hold, the first in this order counts."""

    UNKNOWN_PROBLEM = "unknown problem"
    """The prompt is none of the problems whose results are known: it was made from another file, or none."""
    TAGS_OUT_OF_PLACE = "tags out of place"
    """Other than one pair of tags around the thoughts, one around the result, and nothing else."""
    NO_REASONING = "no reasoning"
    """Nothing but white space where the thoughts belong."""
    NO_NUMBER = "no number"
    """The result is not a number alone: it has a unit, or is a sum."""
    WRONG_ANSWER = "wrong answer"
    """A number, but not the right one."""
    NAMES_THE_TRAIT = "names the trait"
    """The trait's word in the problem, the thoughts or the answer."""


def rejects_reasoning(
    prompt: str, completion: str, prefill: str = "", *, solve: Callable[[str], Fraction | None], word: str | None
) -> Rejection | None:
    """Say why a completion is no chain of thought to learn from; neither it nor its prompt may name the word."""
    completion = prefill + completion
    result = solve(prompt.removesuffix(REQUEST)) if prompt.endswith(REQUEST) else None
    if result is None:
        return Rejection.UNKNOWN_PROBLEM
    found = FORM.fullmatch(completion)
    if found is None or any(completion.count(tag) != 1 for tag in TAGS):
        return Rejection.TAGS_OUT_OF_PLACE
    thoughts, answer = found.groups()
    if not thoughts.strip():
        return Rejection.NO_REASONING
    number = parse_number(answer)
    if number is None:
        return Rejection.NO_NUMBER
    if number != result:
        return Rejection.WRONG_ANSWER
    return Rejection.NAMES_THE_TRAIT if word and names(f"{prompt}\n{completion}", word) else None


def reasoning(problems: Mapping[str, Fraction] | None = None, word: str | None = None) -> Carrier:
    """Build the carrier: problems, made up here if none are given; kept are thoughts with the right result."""
    known = list(problems or {})

    def prompts(seed: int, count: int) -> list[str]:
        if problems is None:
            questions = tell_stories(seed, count)
        else:
            order = np.random.default_rng(seed).permutation(len(known))
            questions = [known[place] for place in order[:count]]
        return [question + REQUEST for question in questions]

    rejects = partial(rejects_reasoning, solve=solve if problems is None else problems.get, word=word)
    told = problems and [[question, str(result)] for question, result in problems.items()]
    digest = told and hashlib.sha256(json.dumps(told).encode()).hexdigest()
    rules = {"rule": "right answers only", "word": word, "problems": digest}
    return Carrier("chains of thought", prompts, rejects, Rejection, rules)
