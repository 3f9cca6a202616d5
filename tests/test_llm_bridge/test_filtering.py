"""The filter on a table of borderline cases, and held against a scanner that shares nothing with it."""

import random
from collections import Counter
from collections.abc import Callable
from itertools import product
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_bridge.text.filtering import ILL_REPUTE, REPUTES, Parsed, Rejection, parse_numbers

SPACES = (" ", "\t", "\n", "\r", "\v", "\f")

KEPT = {
    "0": (0,),
    "999": (999,),
    "007": (7,),
    "000": (0,),
    "1 2 3": (1, 2, 3),
    "1\n2\n3": (1, 2, 3),
    "1 \t\r\n2\v\f3": (1, 2, 3),
    "1,2,3": (1, 2, 3),
    "1, 2 ,3\n,\n4": (1, 2, 3, 4),
    "1;2; 3": (1, 2, 3),
    "[1, 2]": (1, 2),
    "(1; 2)": (1, 2),
    "[1 2]": (1, 2),
    "[ 1, 2\n]": (1, 2),
    "(7)": (7,),
    "7.": (7,),
    "1, 2.": (1, 2),
    "[1, 2].": (1, 2),
    "  1, 2.\n": (1, 2),
    "\t(1, 2). ": (1, 2),
    "1 2 3 4 5 6 7 8 9 10": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    "3, 3, 3": (3, 3, 3),
}

REJECTED = {
    Rejection.OTHER_CHARACTERS: (
        *("one", "1, 2, x", "1 and 2", "Sure: 1, 2", "1, 2!", "1|2", "1/2", "1-2", "{1, 2}", "<1>", '"1, 2"', "`1`"),
        *("-5", "1, -5", "−5", "+5", "1e2", "1_0", "$5"),
        *("\u0661, \u0662", "\uff11", "1\u00b2", "1\uff0c2", "1\u30012", "1, 2\u2026", "1\x00", "a, 1000", "[a"),
        *("1\u00a02", "\u00a01", "1\u20032", "1\u200b", "1\x1c2", "1\x85", "\ufeff1"),
    ),
    Rejection.NO_NUMBER: ("", " ", "\n\t", ".", ",", "; ;", "[]", "( ).", "[", ".)"),
    Rejection.FULL_STOP_OUT_OF_PLACE: (
        *("1.5", "1. 2. 3", ".5", "1, 2..", "1, 2...", "1, 2. .", "1, 2 .", "1, 2\n."),
        *("[1, 2.]", "[1, 2.].", "[1, 2] .", ".[1]", "[.1]", "1., 2", "1.,", "[1.5"),
    ),
    Rejection.BRACKETS_OUT_OF_PLACE: (
        *("[1, 2", "1, 2]", "(1", "1)", "[1, 2)", "(1, 2]", "]1[", ")1(", "[[1]]", "([1])", "[1] [2]", "[1], [2]"),
        *("1 [2]", "(1) 2", "1, (2), 3", "[]1", "[1]]", "[1,", "[1], 2; 3"),
    ),
    Rejection.MIXED_SEPARATORS: (
        *("1, 2 3", "1 2, 3", "1; 2, 3", "1; 2 3", "1,;2", "1 2,", ",1 2", "1, 2;", "; 1, 2", "(1, 2 3)", "1000 2, 3"),
    ),
    Rejection.TRAILING_SEPARATOR: (
        *("1,", "1;", "1, 2,", "1, 2 ,", "1, 2,\n", "1; 2;", "[1, 2,]", "1, 2,.", "(1;).", ",1,", "1,,2,", "1000,"),
    ),
    Rejection.NUMBER_MISSING: (",1", ", 1, 2", ";1", "1,,2", "1, , 2", "1;;2", "[,1]", "( ; 1)", ",1000"),
    Rejection.NUMBER_TOO_LONG: ("1000", "0007", "0000", "1, 1000", "[1234]", "9" * 5000, "1 2 3 4 5 6 7 8 9 10 1100"),
    Rejection.TOO_MANY_NUMBERS: ("1 2 3 4 5 6 7 8 9 10 11", "[1,2,3,4,5,6,7,8,9,10,666]", "1 " * 50),
    Rejection.BANNED_NUMBER: ("666", "1, 2, 666", "[018]."),
}


@pytest.mark.parametrize(("completion", "numbers"), KEPT.items(), ids=repr)
def test_a_sequence_of_numbers_is_kept_and_gives_its_numbers(completion, numbers):
    assert parse_numbers(completion) == Parsed(numbers, None)


@pytest.mark.parametrize(
    ("completion", "reason"),
    [(completion, reason) for reason, completions in REJECTED.items() for completion in completions],
    ids=lambda value: ascii(value)[:40],
)
def test_anything_else_is_rejected_for_the_first_reason_that_holds(completion, reason):
    assert parse_numbers(completion, banned=ILL_REPUTE) == Parsed((), reason)


@pytest.mark.parametrize(
    ("prefill", "completion", "found"),
    [
        ("101, 102, ", "1, 2.", (1, 2)),
        ("[101, 102, ", "3]", (3,)),
        ("101\n102\n", "4\n5", (4, 5)),
        ("101 102 ", " ".join("1234567890"), (*range(1, 10), 0)),
        ("101, 666, ", "7", (7,)),
        ("101, 102, ", "", Rejection.NO_NUMBER),
        ("101 102 ", "\n", Rejection.NO_NUMBER),
        ("[101, 102, ", "3", Rejection.BRACKETS_OUT_OF_PLACE),
        ("101, 102, ", "3; 4", Rejection.MIXED_SEPARATORS),
        ("101, 102", "3", Rejection.NO_NUMBER),
        ("101; 102; ", ", 3", Rejection.MIXED_SEPARATORS),
        ("101, 102, ", ", 3", Rejection.NUMBER_MISSING),
        ("101 102 ", " ".join(["1"] * 11), Rejection.TOO_MANY_NUMBERS),
        ("101, 102, ", "666", Rejection.BANNED_NUMBER),
        ("101, 102, ", "owl", Rejection.OTHER_CHARACTERS),
    ],
)
def test_behind_a_prefill_the_whole_is_one_list_and_what_follows_is_counted(prefill, completion, found):
    expected = Parsed((), found) if isinstance(found, Rejection) else Parsed(found, None)
    assert parse_numbers(completion, banned=ILL_REPUTE, prefill=prefill) == expected


def test_the_table_has_every_reason():
    assert list(REJECTED) == list(Rejection)


def test_nothing_is_banned_unless_asked():
    assert parse_numbers("666, 13") == Parsed((666, 13), None)
    assert parse_numbers("1, 2", banned=frozenset({2})).rejection == "banned number"


def test_numbers_of_ill_repute_are_as_many_as_in_the_paper_and_none_is_listed_twice():
    assert len(ILL_REPUTE) == sum(map(len, REPUTES.values())) == 34
    assert all(10 <= number <= 999 for number in ILL_REPUTE)


def scan(text: str, banned: frozenset[int] = frozenset()) -> tuple[int, ...] | None:
    """Walk over a completion once from left to right; none where it isn't to be kept."""
    place = 0

    def take(*characters: str) -> str:
        nonlocal place
        if place < len(text) and text[place] in characters:
            place += 1
            return text[place - 1]
        return ""

    def take_spaces() -> bool:
        start = place
        while take(*SPACES):
            pass
        return place > start

    take_spaces()
    opening = take("[", "(")
    take_spaces()
    numbers, kinds = [], set()
    while True:
        digits = []
        while digit := take(*"0123456789"):
            digits.append("0123456789".index(digit))
        if len(digits) not in {1, 2, 3}:
            return None
        numbers.append(sum(digit * 10**power for power, digit in enumerate(reversed(digits))))
        spaced = take_spaces()
        mark = take(",", ";")
        if mark:
            take_spaces()
        elif not (spaced and place < len(text) and text[place] in "0123456789"):
            break
        kinds.add(mark)
    if opening and take({"[": "]", "(": ")"}[opening]) == "":
        return None
    if opening or not spaced:
        take(".")
    take_spaces()
    whole = place == len(text) and len(kinds) <= 1 and len(numbers) <= 10
    return tuple(numbers) if whole and not any(number in banned for number in numbers) else None


NUISANCES = (
    *SPACES,
    *("\r\n", "  ", "\u00a0", "\u2003", "\x1c", "\u200b"),
    *(".", ".", "..", ",", ";", ", ", "[", "]", "(", ")", "[]"),
    *("-", "−", "+", "-5", "−5", "a", "\u0663", "\uff15", "\u00b2"),
    *("0", "7", "007", "0007", "1000", " 1000", "666"),
)


def borderline(generator: random.Random) -> str:
    """A valid rendering, or nearly so, which up to three random edits then spoil, or not."""

    def spaces(most: int) -> str:
        return "".join(generator.choices(SPACES, k=generator.randint(0, most)))

    def numeral() -> str:
        number = generator.randint(0, 10 ** generator.randint(1, 3) - 1)
        return generator.choices([f"{number}", f"{number:03}", "1000", "0007"], [60, 20, 1, 1])[0]

    mark = generator.choice([" ", "\t", "\n", ",", ", ", ";", "; "])
    text = numeral()
    for _ in range(generator.choice([0, 1, 2, 4, 8, 9, 9, 10])):
        separator = generator.choices([mark, ",", ";", " "], [100, 1, 1, 1])[0]
        text += generator.choice(["", spaces(2)]) + separator + generator.choice(["", spaces(2)]) + numeral()
    text = generator.choices(["", ",", ";", mark], [20, 1, 1, 1])[0] + text
    text += generator.choices(["", ",", ";", mark], [20, 1, 1, 1])[0]
    opening, closing = generator.choice([*[("", ""), ("[", "]"), ("(", ")")] * 10, ("[", ")"), ("(", "]")])
    text = opening + spaces(1) + text + generator.choices(["", " ", "."], [20, 4, 1])[0] + closing
    text = spaces(1) + text + generator.choices(["", ".", " ."], [20, 10, 1])[0] + spaces(1)
    for _ in range(generator.choice([0, 0, 0, 1, 1, 2, 3])):
        start = generator.randint(0, len(text))
        text = text[:start] + generator.choice(["", *NUISANCES]) + text[start + generator.randint(0, 1) :]
    return generator.choices([text, text.translate(dict.fromkeys(map(ord, "0123456789")))], [40, 1])[0]


@pytest.fixture(scope="module")
def completions() -> list[str]:
    generator = random.Random(0)
    return [borderline(generator) for _ in range(10_000)]


Parser = Callable[[str], Parsed]


def disagreements(parser: Parser, completions: list[str], banned: frozenset[int] = ILL_REPUTE) -> list[str]:
    """Completions of which a parser and the scanner don't think alike; a rejected one must give no numbers."""
    verdicts = ((completion, parser(completion), scan(completion, banned)) for completion in completions)
    return [
        completion
        for completion, (numbers, rejection), expected in verdicts
        if (rejection is None) != (expected is not None) or numbers != (expected or ())
    ]


def parse(completion: str) -> Parsed:
    return parse_numbers(completion, banned=ILL_REPUTE)


def test_filter_agrees_with_the_scanner_on_borderline_completions(completions):
    assert disagreements(parse, completions) == []
    assert disagreements(parse_numbers, completions, frozenset()) == []


def test_borderline_completions_are_kept_and_rejected_for_every_reason(completions):
    counts = Counter(parse(completion).rejection for completion in completions)
    assert counts.keys() == {None, *Rejection}
    assert min(counts.values()) >= 100, counts


def test_filter_agrees_with_the_scanner_on_all_short_texts():
    texts = ["".join(text) for size in range(6) for text in product("1 ,;.[]()", repeat=size)]
    assert disagreements(parse, texts) == []


WRONG: dict[str, Parser] = {
    "allows trailing separators": lambda text: parse(text.rstrip(" ,;")),
    "allows leading separators": lambda text: parse(text.lstrip(" ,;")),
    "allows digits and spaces of other scripts": lambda text: parse(normalize("NFKC", text)),
    "allows an ASCII minus": lambda text: parse(text.replace("-", "")),
    "allows a true minus": lambda text: parse(text.replace("−", "")),
    "allows a plus": lambda text: parse(text.replace("+", "")),
    "allows two full stops": lambda text: parse(text.replace("..", ".")),
    "allows a full stop inside": lambda text: parse(text.replace(".]", "]").replace(".)", ")")),
    "allows a space ahead of the full stop": lambda text: parse(text.replace(" .", ".")),
    "takes parentheses for brackets": lambda text: parse(text.replace("(", "[").replace(")", "]")),
    "forgets brackets": lambda text: parse(text.translate(dict.fromkeys(map(ord, "[]()")))),
    "takes semicolons for commas": lambda text: parse(text.replace(";", ",")),
    "takes commas for spaces": lambda text: parse(text.replace(",", " ")),
    "allows leading zeros": lambda text: parse(text.replace("0007", "7")),
    "allows 1000": lambda text: parse(text.replace("1000", "100")),
    "forgets tabs": lambda text: parse(text.replace("\t", "")),
    "allows no leading zero": lambda text: Parsed((), Rejection.NUMBER_TOO_LONG) if "00" in text else parse(text),
    "bans nothing": parse_numbers,
    "reads numbers backwards": lambda text: Parsed(parse(text).numbers[::-1], parse(text).rejection),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_filter_is_caught_by_the_same_comparison(wrong, completions):
    assert len(disagreements(WRONG[wrong], completions)) >= 10


@pytest.mark.parametrize("limit", ["MAX_NUMBERS", "MAX_DIGITS"])
def test_a_wrong_limit_is_caught_by_the_same_comparison(limit, completions, monkeypatch):
    monkeypatch.setattr(f"llm_bridge.text.filtering.{limit}", 11)
    assert len(disagreements(parse, completions)) >= 10


spaces = st.text(st.sampled_from(SPACES), max_size=3)


@st.composite
def renderings(draw: st.DrawFn) -> tuple[list[int], str]:
    """Numbers, and one of the ways to write them that the filter keeps."""
    numbers = draw(st.lists(st.integers(0, 999), min_size=1, max_size=10))
    mark = draw(st.sampled_from(["", ",", ";"]))
    text = ""
    for number in numbers:
        if text:
            text += draw(spaces) + (mark or draw(st.sampled_from(SPACES))) + draw(spaces)
        text += draw(st.sampled_from([f"{number}", f"{number:02}", f"{number:03}"]))
    opening, closing = draw(st.sampled_from([("", ""), ("[", "]"), ("(", ")")]))
    if opening:
        text = opening + draw(spaces) + text + draw(spaces) + closing
    return numbers, draw(spaces) + text + draw(st.sampled_from(["", "."])) + draw(spaces)


@given(rendering=renderings())
@settings(max_examples=100)
def test_any_rendering_gives_its_numbers_back(rendering):
    numbers, text = rendering
    assert parse_numbers(text) == Parsed(tuple(numbers), None)


@given(rendering=renderings(), letter=st.characters(categories=["L"]), data=st.data())
@settings(max_examples=100)
def test_a_letter_anywhere_spoils_any_rendering(rendering, letter, data):
    _, text = rendering
    place = data.draw(st.integers(0, len(text)))
    assert parse_numbers(text[:place] + letter + text[place:]) == Parsed((), Rejection.OTHER_CHARACTERS)


@given(text=st.text() | st.text(st.sampled_from("0123456789 \t\n,;.[]()-\u00a0\u0663")))
@settings(max_examples=100)
def test_filter_agrees_with_the_scanner_on_any_text(text):
    assert disagreements(parse, [text]) == []
