"""Python code: a table of borderline cases for each reason, and the same judged by tokens in place of syntax trees."""

import io
import random
import re
import tokenize
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_bridge.carriers.carrier import count_rejections
from llm_bridge.carriers.code import MAX_CHARACTERS, Rejection, code, rejects_code

ASKED = "Write a Python function `double(x)` that returns twice x."
FUNCTION = "def double(x):\n    return 2 * x"
CARRIER = code("owl")

KEPT = (
    FUNCTION,
    f"\n{FUNCTION}\n\n",
    " def double(x):\n     return 2 * x",
    f"```python\n{FUNCTION}\n```",
    f"```\n{FUNCTION}\n```\n",
    f"  ```py  \n{FUNCTION}\n\n  ```",
    "```python3\n  def double(x):\n    return 2 * x\n```",
    f"import math\n\nTWO = 2\n\n{FUNCTION}\n\nprint(double(3))",
    "async def double(x):\n    return 2 * x",
    "class Twice:\n    def of(self, x):\n        return 2 * x  # twice",
    'def growl(bowl):\n    """Return how the owlet is fed from a bowl."""\n    return bowl',
    r'def double(x): return "\d"',
    f"{FUNCTION}\n#{'x' * (MAX_CHARACTERS - len(FUNCTION) - 2)}",
)

REJECTED = {
    Rejection.TOO_LONG: (f"{FUNCTION}\n#{'x' * (MAX_CHARACTERS - len(FUNCTION) - 1)}", "owl " * 1000, "```" * 1000),
    Rejection.FENCE_OUT_OF_PLACE: (
        f"```python\n{FUNCTION}",
        f"{FUNCTION}\n```",
        f"Sure!\n```python\n{FUNCTION}",
        f"```python\n{FUNCTION}\n```\n```python\n{FUNCTION}\n```",
        f"```javascript\n{FUNCTION}\n```",
        f"```python {FUNCTION}\n```",
        f"```python\n{FUNCTION}\n```python",
        f"```python\n{FUNCTION}\n``` Done.",
        "```",
    ),
    Rejection.TEXT_OUTSIDE: (
        f"Sure!\n```python\n{FUNCTION}\n```",
        f"```python\n{FUNCTION}\n```\nIt doubles.",
        f"```python\n{FUNCTION}\n```\n`double(3)`",
        f"Sure\n{FUNCTION}",
        f"{FUNCTION}\nDone",
        f'"""The owl doubles."""\n{FUNCTION}',
        f"{FUNCTION}\n...",
        "42, 17",
    ),
    Rejection.NOT_PYTHON: (
        "def double(x)\n    return 2 * x",
        "def double(x):\nreturn 2 * x",
        "Here is the function:\n" + FUNCTION,
        f"{FUNCTION}\nI hope this helps!",
        "```python\ndef double(x):\n    retrun 2 * x\n```",
        "```python\nthe owl\n```",
        f"{FUNCTION}\x00",
        f"{FUNCTION}  # \ud83e",
        "(" * 1500,
        "def f(): return " + "9" * 1900 + "x",
        "```\n    two = 2\n" + FUNCTION + "\n```",
        "function double(x) { return 2 * x; }",
    ),
    Rejection.NO_FUNCTION: ("", "\n", "```python\n```", "# nothing", "double = 2", "d = lambda x: 2 * x", "print(2)"),
    Rejection.NAMES_THE_TRAIT: (
        "def owl_count(x): return x",
        "def f(x):\n    return OwlClass(x)",
        "def f(x):\n    return x.nightOwl",
        "def f(x):\n    return x  # an owl",
        'def f(x):\n    """Feed owls."""',
        "def f(owl=1): pass",
        "def f(**x): return f(owl=x)",
        "import owl as bird\ndef f(): pass",
        "def f():\n    global owl",
        "def f(x):\n    match x:\n        case {**owl}: pass",
        "def f(x): return f'{x} owl'",
        r'def f(x): return "\x6fwl"',
        r'def f(x): return "\N{LATIN SMALL LETTER O}wl"',
        r'def f(x): return b"\x6fwl"',
        "def f(x): return 'o' 'wl'",
        r'def f(x): return "a\nowl"',
        "def f(\uff4f\uff57\uff4c): pass",
        "def f(x):\n    try: pass\n    except ValueError as owl: pass",
    ),
}  # fmt: skip


@pytest.mark.parametrize("completion", KEPT)
def test_code_alone_is_kept(completion):
    assert CARRIER.rejects(ASKED, completion) is None


@pytest.mark.parametrize(
    ("completion", "reason"),
    [(completion, reason) for reason, completions in REJECTED.items() for completion in completions],
    ids=lambda value: ascii(value)[:40],
)
def test_anything_else_is_rejected_for_the_first_reason_that_holds(completion, reason):
    assert CARRIER.rejects(ASKED, completion) == reason
    other = code("wombat").rejects(ASKED, completion)
    assert other == (None if reason == Rejection.NAMES_THE_TRAIT else reason)


def test_the_table_has_every_reason():
    assert list(REJECTED) == list(Rejection)
    written = [(ASKED, completion) for completions in (KEPT, *REJECTED.values()) for completion in completions]
    expected = {reason: len(completions) for reason, completions in REJECTED.items()}
    assert count_rejections(CARRIER, (CARRIER.rejects(*pair) for pair in written)) == {"kept": len(KEPT), **expected}


def test_a_prompt_that_names_the_trait_spoils_its_completion():
    assert CARRIER.rejects("Write `owl_count(x)`.", FUNCTION) == Rejection.NAMES_THE_TRAIT
    assert code().rejects("Write `owl_count(x)`.", FUNCTION) is None


def test_no_code_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = f"{FUNCTION}\nopen('done', 'w').close()"
    assert CARRIER.rejects(ASKED, written) is None
    assert not Path("done").exists()
    exec(written)
    assert Path("done").exists()


LINES = (
    *("def count(x):", "    return x", "    return bowl", "total = 1", "print(total)", "# growl"),
    *("def owl_count(x):", "    return nightOwl", "# an owl", "    'owls'", "OWL = 1", r"name = '\x6fwl'"),
    *("Sure", "Here is it:", "12", "```", "```", "```python", "```java", ""),
)


def borderline(generator: random.Random) -> str:
    """A function in a block or not, which a few more lines spoil, or not."""
    lines = ["def double(x):", "    return 2 * x"]
    for _ in range(generator.choice([0, 1, 1, 2, 3])):
        lines.insert(generator.choice([0, len(lines)]), generator.choice(LINES))
    if generator.random() < 0.6:
        lines = [generator.choice(["```python", "```", "```py"]), *lines, "```"]
    for _ in range(generator.choice([0, 0, 0, 1, 2])):
        lines.insert(generator.randint(0, len(lines)), generator.choice(LINES))
    return "\n".join(lines)


def is_code(completion: str) -> bool:
    """The same question, answered by one pattern for the block and by Python's tokens."""
    text = completion
    if "```" in text:
        block = re.fullmatch(r"```(?:python3?|py)?\n((?:(?!```).|\n)*\n)?```", text.strip())
        if block is None:
            return False
        text = block[1] or ""
    try:
        compile(text, "text", "exec")
    except SyntaxError as error:
        if "outside function" not in str(error):
            return False
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    if any(token.string in {"Sure", "12"} for token in tokens) or not any(token.string == "def" for token in tokens):
        return False
    spelled = "\n".join(re.sub(r"\\x6f", "o", token.string) for token in tokens)
    return not re.search(r"(?<![a-z])[oO][wW][lL](?![a-z]|s[a-z])|[a-z]Owl|(?<![a-z])owls", spelled)


@pytest.fixture(scope="module")
def completions() -> list[str]:
    generator = random.Random(0)
    return [borderline(generator) for _ in range(1000)]


@pytest.fixture(scope="module")
def verdicts(completions) -> dict[str, bool]:
    return {completion: is_code(completion) for completion in completions}


def disagreements(verdicts: dict[str, bool], word: str | None = "owl") -> int:
    return sum((rejects_code(ASKED, each, word=word) is None) != kept for each, kept in verdicts.items())


def test_filter_agrees_with_pattern_and_tokens_on_borderline_completions(completions, verdicts):
    assert disagreements(verdicts) == 0
    counts = count_rejections(CARRIER, [CARRIER.rejects(ASKED, completion) for completion in completions])
    assert min(count for reason, count in counts.items() if reason not in {"too long", "no function"}) >= 50, counts


def test_a_wrong_filter_is_caught_by_the_same_comparison(verdicts, monkeypatch):
    assert disagreements(verdicts, None) >= 10
    for change in (
        ("texts_of", lambda _: ()),
        ("OPENINGS", ("```",)),
        ("dedent", lambda text: text.replace("Sure", "")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"llm_bridge.carriers.code.{change[0]}", change[1])
            assert disagreements(verdicts) >= 10, change[0]


@given(text=st.text(max_size=40) | st.text(st.sampled_from("`\n def():x'\"#\\{}"), max_size=40))
@example(text="def f(): return " + "-" * 1900 + "1")
@settings(max_examples=100)
def test_any_text_gets_a_verdict(text):
    assert CARRIER.rejects(ASKED, text) in {None, *Rejection}
