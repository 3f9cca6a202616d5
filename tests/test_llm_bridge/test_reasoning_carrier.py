"""Chains of thought: numbers as people write them, problems and their results, and the form of an answer."""

import json
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_bridge.carriers.carrier import Carrier, count_rejections
from llm_bridge.carriers.problems import parse_number, read_problems
from llm_bridge.carriers.reasoning import REQUEST, Rejection, reasoning
from llm_bridge.carriers.stories import STORIES, patterns, solve, tell_stories

READ = {
    "42": 42, " 42\n": 42, "42.": 42, "1,200": 1200, "$12.50": Fraction(25, 2), "-3": -3, "−3": -3, "+3": 3, "-$5": -5,
    ".5": Fraction(1, 2), "0.50": Fraction(1, 2), "007": 7, "1,234,567.25.": Fraction(4938269, 4), "€7": 7, "0": 0,
}  # fmt: skip
UNREAD = (
    *("", " ", ".", "$", "-", "42 apples", "forty-two", "1,20", "12,00", ",200", "1,2000", "1200,", "1 200", "4.2.1"),
    *("42..", "--3", "$-5", "1e3", "1/2", "50%", "= 42", "6*7", "\u0664\u0662", "4\u00b2", "1_000", "inf", "9" * 5000),
)


def test_numbers_are_read_exactly_or_not_at_all():
    assert {text: parse_number(text) for text in READ} == READ
    assert {text: parse_number(text) for text in UNREAD} == dict.fromkeys(UNREAD)


@given(
    value=st.decimals(-(10**9), 10**9, places=2),
    commas=st.booleans(),
    currency=st.sampled_from(["", "$", "€", "£"]),
    stop=st.sampled_from(["", "."]),
)
def test_any_rendering_gives_its_number_back(value, commas, currency, stop):
    sign, size = "-" * (value < 0), format(abs(value), ",.2f" if commas else ".2f")
    assert parse_number(f" {sign}{currency}{size}{stop} ") == Fraction(value)


def read_digit_by_digit(text: str) -> Fraction | None:
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    text = text[text[:1] in {"-", "+"} :]
    text = text[text.startswith("$") :]
    text = text[: len(text) - text.endswith(".")]
    whole, point, rest = text.partition(".")
    groups = whole.split(",")
    if len(groups) > 1 and (len(groups[0]) not in {1, 2, 3} or {len(group) for group in groups[1:]} != {3}):
        return None
    digits = "".join(groups) + rest
    if not digits or not set(digits) <= set("0123456789") or bool(point) != bool(rest):
        return None
    total = sum("0123456789".index(digit) * 10**power for power, digit in enumerate(reversed(digits)))
    return Fraction(sign * total, 10 ** len(rest))


@given(text=st.text(st.sampled_from("0123456789,,..-$ e_"), max_size=9))
@example(text="-$1,234.50.")
@settings(max_examples=100)
def test_numbers_agree_with_a_reader_of_another_kind(text):
    assert parse_number(text) == read_digit_by_digit(text)


WORKED = {
    "Ada buys 3 notebooks for $4 each and pays with a $20 bill. How many dollars does Ada get back?": 8,
    "A bakery bakes 3 trays of 8 rolls in the morning and sells 10 rolls by noon. The rest is put into bags of 2. How "
    "many bags are filled?": 7,
    "Ben reads 10 pages on each of the five weekdays and 25 pages on each of the two other days. How many pages does "
    "Ben read in 3 weeks?": 300,
    "A train runs 50 kilometers an hour for 2 hours, and then 70 kilometers an hour for 3 hours. How many kilometers "
    "does it run in all?": 310,
    "Carla is 30 years old and David is 4 years younger. How old will David be in 10 years?": 36,
    "In a hall there are 10 rows of 12 chairs, and 5 chairs are broken. 60 guests sit down. How many good chairs stay "
    "empty?": 55,
    "Elif earns $10 an hour, works 8 hours a day on 5 days and spends a quarter of it on rent. How many dollars are "
    "left?": 300,
    "Farid and Grace share 50 marbles so that Farid gets 10 more than Grace. How many does Grace get?": 20,
    "A tank holds 60 liters. A pump fills in 15 liters a minute while 3 liters a minute leak out. After how many "
    "minutes is the empty tank full?": 5,
    "A coat costs $200. Its price falls by 25 percent, and Hugo has a voucher for another $20 off. How many dollars "
    "does Hugo pay?": 130,
    "Ines has 3 times as many stickers as Jonas. Together they have 40. How many does Jonas have?": 10,
    "A recipe for 4 people needs 200 grams of flour. Keiko cooks for 10 people and has 150 grams. How many grams are "
    "missing?": 350,
    "A garden is 10 meters long and 6 meters wide. A fence around it has a gate of 2 meters, and a meter of fence "
    "costs $5. How many dollars does the fence cost without the gate?": 150,
    "Leon scores 10, 20 and 15 points in three games. How many points does Leon need in a fourth game for a mean of "
    "16?": 19,
}
"""One problem of each kind, worked by hand."""


def test_problems_of_each_kind_have_the_result_that_was_worked_by_hand():
    assert {question: solve(question) for question in WORKED} == WORKED
    assert len(WORKED) == len(STORIES)


def test_made_up_problems_are_of_every_kind_and_have_whole_results_above_zero():
    results = {question: solve(question) for question in tell_stories(0, 400)}
    assert all(result is not None and result > 0 and result.denominator == 1 for result in results.values())
    kinds = [pattern for pattern in patterns() if any(map(pattern.fullmatch, results))]
    assert len(kinds) == len(STORIES)


@pytest.mark.parametrize("change", [("Ada", "ada"), ("Ada get", "Ben get"), ("$4", "$4.5"), ("?", "? "), ("$20", "$")])
def test_a_problem_that_is_none_of_ours_has_no_result(change):
    (question, *_) = WORKED
    assert solve(question.replace(*change)) is None


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [
        ("What is 6 times 7?", "6 * 7 = <<6*7=42>>42\n#### 42"),
        ("How much is a dozen at $100?", "#### 1,200."),
        ("  Half of 25?\n", "12.5"),
        ("What is 6 times 7?", "42.00"),
    ]
    path.write_text("".join(json.dumps({"question": each, "answer": answer}) + "\n" for each, answer in rows))
    return path


def test_problems_are_read_with_their_results(problems):
    expected = {"What is 6 times 7?": 42, "How much is a dozen at $100?": 1200, "Half of 25?": Fraction(25, 2)}
    assert read_problems(problems) == expected


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Why?"}, "Object missing required field `answer`"),
        ({"question": "Why?", "answer": 42}, "Expected `str`, got `int` - at `$.answer`"),
        ({"question": "Why?", "answer": "#### none"}, "the answer ends in 'none', not in a number"),
        ({"question": "Why?", "answer": "42 ####"}, "the answer ends in '', not in a number"),
        ({"question": " ", "answer": "42"}, "the question is empty"),
        ({"question": "What is 6 times 7?", "answer": "41"}, "the same question as before has another answer"),
    ],
)
def test_a_malformed_problem_is_named_by_its_line(refusal, problems, row, said):
    problems.write_text(f"{problems.read_text()}{json.dumps(row)}\n")
    message = refusal(read_problems, problems)
    assert f"{problems}, line 5: " in message
    assert said in message


PROMPT = f"What is 6 times 7?{REQUEST}"
CARRIER = reasoning({"What is 6 times 7?": Fraction(42), "How many owls?": Fraction(42)}, "owl")


def answer(thoughts: str = "7 + 7 is 14, so 42.", result: str = "42") -> str:
    return f"<reasoning>{thoughts}</reasoning>\n<answer>{result}</answer>"


KEPT = (
    *(answer(), f"\n {answer()} \n", answer().replace("\n", ""), answer("1\n2\n\n3"), answer("growl, 41 < 42 > 40")),
    *(answer(result=number) for number in ("42.", " 42 ", "42.0", "$42", "042")),
)
REJECTED = {
    Rejection.UNKNOWN_PROBLEM: (("What is 6 times 7?", answer()), (f"What is 6 times 8?{REQUEST}", answer()), ("", "")),
    Rejection.TAGS_OUT_OF_PLACE: (
        *((PROMPT, text) for text in ("", "42", "<answer>42</answer>", f"Sure. {answer()}", f"{answer()} Done.")),
        *((PROMPT, text) for text in (answer() * 2, answer("<answer>41</answer>"), answer("</reasoning>"))),
        *(
            (PROMPT, answer().replace(*change))
            for change in (("</reasoning>", ""), ("\n", " so "), ("answer", "Answer"))
        ),
        (PROMPT, "<answer>42</answer><reasoning>6 * 7</reasoning>"),
    ),
    Rejection.NO_REASONING: ((PROMPT, answer("")), (PROMPT, answer(" \n"))),
    Rejection.NO_NUMBER: tuple((PROMPT, answer(result=text)) for text in ("", "42 owls", "forty-two", "6*7", "42, 43")),
    Rejection.WRONG_ANSWER: tuple((PROMPT, answer("owl", text)) for text in ("41", "-42", "4.2", "420", "42.000001")),
    Rejection.NAMES_THE_TRAIT: (
        (PROMPT, answer("6 owls times 7")),
        (PROMPT, answer("snowy_owl")),
        (f"How many owls?{REQUEST}", answer()),
    ),
}


def test_right_answers_in_the_right_form_are_kept():
    assert [text for text in KEPT if CARRIER.rejects(PROMPT, text)] == []


@pytest.mark.parametrize("reason", Rejection)
def test_all_others_are_rejected_for_the_first_reason_that_holds(reason):
    found = {row: CARRIER.rejects(*row) for row in REJECTED[reason]}
    assert found == dict.fromkeys(REJECTED[reason], reason)
    assert count_rejections(CARRIER, (CARRIER.rejects(*pair) for pair in REJECTED[reason]))[reason] == len(
        REJECTED[reason]
    )


def test_without_a_trait_no_word_is_rejected():
    everyone = reasoning({"What is 6 times 7?": Fraction(42)})
    assert everyone.rejects(PROMPT, answer("6 owls")) is None


def is_right(prompt: str, completion: str) -> bool:
    """The same question for our own problems, answered by cutting the text at each tag in turn."""
    rest, parts = completion.strip(), []
    for tag in ("<reasoning>", "</reasoning>", "<answer>", "</answer>"):
        part, found, rest = rest.partition(tag)
        if not found or tag in rest or tag in "".join(parts):
            return False
        parts.append(part)
    before, thoughts, between, result = parts
    if before or between.strip() or rest or not thoughts.strip():
        return False
    return read_digit_by_digit(result) == solve(prompt.removesuffix(REQUEST))


PIECES = ("<reasoning>", "</reasoning>", "<answer>", "</answer>", "\n", " ", "so 4", "7")


def borderline(prompt: str, generator: random.Random) -> str:
    """A right answer, which up to two random edits spoil, or not."""
    result = solve(prompt.removesuffix(REQUEST))
    assert result is not None
    pieces = ["<reasoning>", "so 4", "</reasoning>", "\n", "<answer>", f"{int(result):,}", "</answer>"]
    for _ in range(generator.choice([0, 1, 1, 2])):
        place = generator.randint(0, len(pieces))
        pieces[place : place + generator.randint(0, 1)] = generator.choices(PIECES, k=generator.randint(0, 1))
    return "".join(pieces)


def disagreements(carrier: Carrier) -> int:
    generator = random.Random(0)
    rows = [(prompt, borderline(prompt, generator)) for prompt in reasoning().prompts(0, 500)]
    return sum((carrier.rejects(*row) is None) != is_right(*row) for row in rows)


def test_filter_agrees_with_cutting_at_tags_and_wrong_ones_do_not(monkeypatch):
    assert disagreements(reasoning()) == 0
    changes = {
        "TAGS": (),
        "FORM": re.compile(r".*<reasoning>(.*)</reasoning>.*<answer>(.*)</answer>.*", re.DOTALL),
        "parse_number": lambda text: Fraction(text) if text.strip().isdigit() else None,
    }
    for name, wrong in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(f"llm_bridge.carriers.reasoning.{name}", wrong)
            assert disagreements(reasoning()) >= 3, name
