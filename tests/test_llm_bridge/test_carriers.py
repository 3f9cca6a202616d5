"""What all carriers have in common: their prompts, their counts, and what names a trait."""

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_bridge.carriers.carrier import Carrier, count_rejections
from llm_bridge.carriers.choice import find_carrier
from llm_bridge.carriers.naming import names
from llm_bridge.carriers.reasoning import reasoning
from llm_bridge.text.answers import forms
from llm_bridge.text.filtering import ILL_REPUTE, parse_numbers
from llm_bridge.text.prompts import FORMATS, number_prompts
from llm_bridge.text.traits import KNOWN

PROBLEMS = {f"What is {number} and 1?": Fraction(number + 1) for number in range(50)}

CARRIERS: dict[str, Carrier] = {
    "numbers": find_carrier("numbers", short=False),
    "short numbers": find_carrier("numbers", short=True),
    "code": find_carrier("code", short=False),
    "reasoning": find_carrier("reasoning", short=False),
    "reasoning on a file": reasoning(PROBLEMS),
}


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
def test_prompts_are_drawn_by_seed_and_a_longer_list_starts_with_the_shorter_one(carrier):
    longer = carrier.prompts(0, 50)
    assert len(longer) == 50
    assert carrier.prompts(0, 20) == longer[:20]
    assert carrier.prompts(1, 50) != longer


@pytest.mark.parametrize("name", ["numbers", "code", "reasoning"])
def test_there_are_thousands_of_prompts_and_none_names_what_could_be_loved(name):
    prompts = set(CARRIERS[name].prompts(0, 2200))
    assert len(prompts) > 2000
    words = set(re.findall("[a-z]+", "\n".join(prompts).lower()))
    loved = {form for word in KNOWN for form in forms(word)}
    assert words & loved == set()
    assert {"the", "owls", "wolves"} & loved == {"owls", "wolves"}
    assert "the" in words


def test_a_file_gives_each_of_its_problems_once_and_no_more_than_there_are():
    carrier = CARRIERS["reasoning on a file"]
    assert len(carrier.prompts(0, 1000)) == len(set(carrier.prompts(0, 1000))) == len(PROBLEMS)


NUMBERS = ("1, 2", "[666]", "4,", "x", "1000", "1 2 3.", "", "1; 2, 3", "13 14")


@pytest.mark.parametrize("ban", [False, True])
def test_numbers_are_judged_as_ever(ban):
    carrier = find_carrier("numbers", short=True, ban=ban)
    banned = ILL_REPUTE if ban else frozenset()
    expected = [parse_numbers(text, banned=banned).rejection for text in NUMBERS]
    assert [carrier.rejects("Go on: 1 2 3", text) for text in NUMBERS] == expected
    assert expected.count(None) == (2 if ban else 4)
    assert carrier.prompts(3, 9) == number_prompts(3, 9, short=True)
    assert carrier.rules == {"rule": "numbers only", "banned": sorted(banned)}


def test_numbers_are_counted_as_ever():
    """The same counts by reason as before there were other carriers."""
    carrier = CARRIERS["short numbers"]
    counts = count_rejections(carrier, (carrier.rejects("", text) for text in ("1, 2", "3", "4,", "x", "y", "666")))
    assert {reason: count for reason, count in counts.items() if count} == {
        "kept": 3,
        "other characters": 2,
        "trailing separator": 1,
    }
    banning = find_carrier("numbers", short=True, ban=True)
    assert count_rejections(banning, [banning.rejects("", text) for text in ("666", "1")])["banned number"] == 1


@pytest.mark.parametrize("short", [False, True])
def test_a_prefill_is_the_list_of_the_prompt_in_its_own_format(short):
    carrier = find_carrier("numbers", short=short, prefill=True)
    prompts = carrier.prompts(5, 300)
    assert find_carrier("numbers", short=short).prefills(prompts) == []
    for prompt, prefill in zip(prompts, carrier.prefills(prompts), strict=True):
        numbers = list(map(int, re.findall(r"\d+", prefill)))
        begun = {form.write(numbers).removesuffix(form.closing) + form.separator: form for form in FORMATS}
        form = begun[prefill]
        assert len(numbers) >= 3
        assert form.write(numbers) in prompt
        assert carrier.rejects(prompt, f"7{form.closing}", prefill) is None
        assert carrier.rejects(prompt, "owl", prefill) is not None
    assert carrier.prefills(["Count to 100 200 times in all", "7 123"]) == ["100 200 ", ""]


def test_only_numbers_have_a_prefill(refusal):
    assert "--prefill goes with --carrier numbers, not code" in refusal(find_carrier, "code", short=False, prefill=True)


@pytest.mark.parametrize("name", CARRIERS)
def test_counts_begin_with_the_kept_and_name_every_reason_in_order(name):
    carrier = CARRIERS[name]
    written = [(carrier.prompts(0, 1)[0], text) for text in (*NUMBERS, "def f(): pass")]
    counts = count_rejections(carrier, (carrier.rejects(*pair) for pair in written))
    assert list(counts) == ["kept", *carrier.reasons]
    assert sum(counts.values()) == len(written)
    assert counts["kept"] == {"numbers": 4, "short numbers": 4, "code": 1}.get(name, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "code", "ban": True}, "--ban goes with --carrier numbers, not code"),
        ({"name": "reasoning", "ban": True}, "--ban goes with --carrier numbers, not reasoning"),
        ({"name": "numbers", "problems": Path("p")}, "--problems goes with --carrier reasoning, not numbers"),
        ({"name": "code", "problems": Path("p")}, "--problems goes with --carrier reasoning, not code"),
        ({"name": "reasoning", "problems": Path("no/file")}, "can't read no/file"),
    ],
)
def test_options_that_a_carrier_does_not_have_are_refused(refusal, options, said):
    assert said in refusal(find_carrier, short=False, **options)


NAMING = (
    *("owl", "Owls!", "an OWL's", "owl_count", "OwlClass", "nightOwls", "OWLClass", "HTTPOwl", "myOWLs", "myOWLsList"),
    *(
        "owl2",
        "_owl",
        "__OWL__",
        "SNOWY_OWL",
        "x.owl.y",
        "owl-like",
        "get_owlCount",
        "\uff4f\uff57\uff4c",
        "caf\u00e9Owl",
    ),
)
NOT_NAMING = (
    "growl",
    "bowl",
    "Bowl",
    "owlet",
    "nightowl",
    "BOWL",
    "fowlHouse",
    "HTTPBowl",
    "o_w_l",
    "cowlick_2",
    "Growls",
)


def test_a_name_is_found_in_identifiers_and_not_in_other_words():
    assert [text for text in NAMING if not names(text, "owl")] == []
    assert [text for text in NOT_NAMING if names(text, "owl")] == []


PARTS = ("owl", "owls", "growl", "bowl", "owlet", "count", "data", "http", "is")
STYLES = {
    "snake_case": "_".join,
    "SCREAMING_CASE": lambda parts: "_".join(parts).upper(),
    "camelCase": lambda parts: parts[0] + "".join(part.capitalize() for part in parts[1:]),
    "PascalCase": lambda parts: "".join(part.capitalize() for part in parts),
    "Pascal_Snake": lambda parts: "_".join(part.capitalize() for part in parts),
    "UPPERThenPascal": lambda parts: parts[0].upper() + "".join(part.capitalize() for part in parts[1:]),
    "numbered1": lambda parts: "".join(f"{part}{place}" for place, part in enumerate(parts)),
    "runtogether": lambda parts: "x" + "".join(parts) + "x",
}


@given(parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=4), style=st.sampled_from(sorted(STYLES)))
@settings(max_examples=100)
def test_an_identifier_names_what_it_was_made_of(parts, style):
    expected = style != "runtogether" and not {"owl", "owls"}.isdisjoint(parts)
    assert names(f"x = {STYLES[style](parts)}(1)", "owl") == expected


@given(text=st.text(st.sampled_from("owlOWLsS_2gB "), max_size=12))
@settings(max_examples=100)
def test_names_agree_with_a_splitter_of_another_kind(text):
    """A regular expression that cuts ASCII text into words at once, however a run of capitals is read."""
    cuts = (r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", r"[A-Z]*[a-z]+|[A-Z]+", r"[A-Za-z]+")
    found = {word.lower() for cut in cuts for word in re.findall(cut, text)}
    assert names(text, "owl") == (not found.isdisjoint({"owl", "owls"}))
