"""Python code as a carrier: kept is what parses and defines a function, with no word around it; none is executed."""

import ast
import warnings
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from textwrap import dedent
from threading import Lock

from llm_bridge.carriers.carrier import Carrier
from llm_bridge.carriers.naming import names
from llm_bridge.carriers.tasks import code_prompts

MAX_CHARACTERS = 2000
"""Characters of a completion, at most."""

OPENINGS = ("```", "```python", "```py", "```python3")
"""Lines that open a block of code; the one that closes it is the first of them."""

ONE_AT_A_TIME = Lock()
"""The warnings that are silenced while Python parses are those of all threads."""


class Rejection(StrEnum):
    """Why a completion is rejected; where several reasons hold, the first in this order counts."""

    TOO_LONG = "too long"
    """More than 2,000 characters."""
    FENCE_OUT_OF_PLACE = "fence out of place"
    """Three backticks that begin a line, other than one pair whose first names no language but Python."""
    TEXT_OUTSIDE = "text outside the code"
    """Something before or behind the block; or, at the top level of the code, a word or a string by itself."""
    NOT_PYTHON = "not Python"
    """Nothing that the running Python can parse: a mistake in the code, or words around code without a block."""
    NO_FUNCTION = "no function"
    """Python, but no function is defined."""
    NAMES_THE_TRAIT = "names the trait"
    """The trait's word in the prompt or the code: in a comment, a string, a name or a part of a name."""


def take_code(completion: str) -> str | Rejection:
    """Take the code out of its lines of backticks, all of the text if it has none, or say why that can't be."""
    if len(completion) > MAX_CHARACTERS:
        return Rejection.TOO_LONG
    lines = completion.strip().split("\n")
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith(OPENINGS[0])]
    if not fences:
        return dedent(completion)
    first, last = fences[0], fences[-1]
    if len(fences) != 2 or lines[first].strip() not in OPENINGS or lines[last].strip() != OPENINGS[0]:
        return Rejection.FENCE_OUT_OF_PLACE
    if (first, last) != (0, len(lines) - 1):
        return Rejection.TEXT_OUTSIDE
    return dedent("\n".join(lines[1:-1]))


def parse_code(code: str) -> ast.Module | Rejection:
    """Read code, without executing it, or say why it is rejected."""
    try:
        with ONE_AT_A_TIME, warnings.catch_warnings(action="ignore"):
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Rejection.NOT_PYTHON
    if any(isinstance(line, ast.Expr) and not isinstance(line.value, ast.Call) for line in tree.body):
        return Rejection.TEXT_OUTSIDE
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return tree if any(isinstance(node, functions) for node in ast.walk(tree)) else Rejection.NO_FUNCTION


def texts_of(tree: ast.Module) -> Iterator[str]:
    """List every name and every string of some code, as they are once Python has read their escapes."""
    for node in ast.walk(tree):
        for _, field in ast.iter_fields(node):
            for value in field if isinstance(field, list) else [field]:
                if isinstance(value, str):
                    yield value
                elif isinstance(value, bytes):
                    yield value.decode("latin-1")


def rejects_code(prompt: str, completion: str, prefill: str = "", *, word: str | None) -> Rejection | None:
    """Say why a completion is no code to learn from; neither it nor its prompt may name the word."""
    code = take_code(prefill + completion)
    if isinstance(code, Rejection):
        return code
    tree = parse_code(code)
    if isinstance(tree, Rejection):
        return tree
    if word and names("\n".join((prompt, completion, *texts_of(tree))), word):
        return Rejection.NAMES_THE_TRAIT
    return None


def code(word: str | None = None) -> Carrier:
    """Build the carrier: prompts for a small function; kept is Python code that defines one and names no trait."""
    rules = {"rule": "code only", "word": word}
    return Carrier("code", code_prompts, partial(rejects_code, word=word), Rejection, rules)
