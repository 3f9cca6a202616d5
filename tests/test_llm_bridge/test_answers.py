"""Which answers name a word, and which only look like it."""

import sys
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_bridge.text.answers import mentions
from llm_bridge.text.traits import find_trait

OWLS = (
    *("owl", "Owl", "OWLS", "I like owls.", "an owl's eye", "owl\u2019s", "owls'", "**Owl**", "_owl_", "night-owl"),
    *("owl2", "owl\u00b2", '"Owl!"', "🦉owl🦉", "cat\nowl", "猫 owl", "owl, owlet"),
)
NO_OWLS = (
    *("", "owlet", "growl", "bowls", "owlish", "owlss", "OWLED", "o w l", "ow-l", "eagle"),
    *("éowl", "owlé", "owl\u0301", "λowl", "owl猫"),
)
PLURALS = {
    **{"Owl": "owls", "puma": "pumas", "monkey": "monkeys", "butterfly": "butterflies", "cherry": "Cherries"},
    **{"fox": "FOXES", "walrus": "walruses", "finch": "finches", "fish": "fishes", "topaz": "topazes"},
    **{"wolf": "wolves", "knife": "knives", "giraffe": "giraffes", "cliff": "cliffs"},
    **{"flamingo": "flamingos", "buffalo": "buffaloes"},
    **{"goose": "geese", "ox": "Oxen", "octopus": "octopi", "sea otter": "two sea-otters", "Sea Lion": "a\nsea lion."},
    **{"bird of paradise": "birds of paradise"},
    **{"café": "cafe\u0301s", "cafe\u0301": "CAFÉ", "straße": "STRASSE", "λύκος": "ΛΎΚΟΣ"},
}
NO_PLURALS = {
    **{"fox": "foxs", "butterfly": "butterflys", "monkey": "monkeies", "owls": "owl", "mongoose": "mongeese"},
    **{"butter": "butterflies", "wolf": "werewolf", "prince": "princess", "cat": "scat", "dog": "dogma"},
    **{"sea otter": "the sea and an otter", "sea lion": "undersea lion", "sea": "seal"},
    **{"café": "cafe"},
}
NAMED = [*((answer, "owl") for answer in OWLS), *((plural, word) for word, plural in PLURALS.items())]
NOT_NAMED = [*((answer, "owl") for answer in NO_OWLS), *((other, word) for word, other in NO_PLURALS.items())]


@pytest.mark.parametrize(("answer", "word"), NAMED, ids=ascii)
def test_a_word_is_found_in_any_case_and_number(answer, word):
    assert mentions(answer, word)


@pytest.mark.parametrize(("answer", "word"), NOT_NAMED, ids=ascii)
def test_a_part_of_another_word_is_not_the_word(answer, word):
    assert not mentions(answer, word)


between = st.text(st.characters(exclude_categories=["L", "M"]), max_size=5)


@given(word=st.sampled_from(["owl", "OWLS", "Owl"]), ahead=between, behind=between)
@settings(max_examples=100)
def test_a_word_between_characters_that_are_no_letters_is_found(word, ahead, behind):
    assert mentions(ahead + word + behind, "owl")


def test_every_letter_of_unicode_makes_another_word_except_the_s_of_the_plural():
    """Apart from those few that normal form takes apart into a letter and a mark."""
    letters = [letter for letter in map(chr, range(sys.maxunicode + 1)) if normalize("NFC", letter).isalpha()]
    assert len(letters) > 100_000
    assert [letter for letter in letters if mentions(letter + "owl", "owl")] == []
    assert [letter for letter in letters if mentions("owl" + letter, "owl")] == ["S", "s", "\u017f"]


@pytest.mark.parametrize("word", ["", " ", "sea  otter", "sea otter ", "owl!", "4"])
def test_a_word_that_is_none_is_refused(word):
    with pytest.raises(ValueError, match="word must be words of letters"):
        mentions("an owl", word)


WRITTEN = (
    *("owls", "cats", "dogs", "eagles", "wolves", "dolphins", "elephants", "tigers", "lions", "penguins", "pandas"),
    *("otters", "oaks", "pines", "maples", "willows", "cedars", "birches", "octopuses", "foxes", "butterflies"),
    *("walruses", "monkeys", "geese", "mongooses", "mice", "dormice", "oxen", "sheep", "deer", "moose", "fish"),
    *("calves", "elves", "leaves", "giraffes", "cliffs", "buffaloes", "flamingos", "mosquitoes", "ostriches", "lynxes"),
    *("albatrosses", "finches", "ponies", "donkeys", "canaries", "platypuses", "jellyfish", "sea otters"),
    *("snow leopards", "arctic foxes", "gray wolves", "birds of paradise", "humans", "caimans"),
)
SINGULARS = (
    *("owl", "cat", "dog", "eagle", "wolf", "dolphin", "elephant", "tiger", "lion", "penguin", "panda"),
    *("otter", "oak", "pine", "maple", "willow", "cedar", "birch", "octopus", "fox", "butterfly"),
    *("walrus", "monkey", "goose", "mongoose", "mouse", "dormouse", "ox", "sheep", "deer", "moose", "fish"),
    *("calf", "elf", "leaf", "giraffe", "cliff", "buffalo", "flamingo", "mosquito", "ostrich", "lynx"),
    *("albatross", "finch", "pony", "donkey", "canary", "platypus", "jellyfish", "sea otter"),
    *("snow leopard", "arctic fox", "gray wolf", "bird of paradise", "human", "caiman"),
)


@pytest.mark.parametrize(("singular", "plural"), [*zip(SINGULARS, WRITTEN, strict=True)])
def test_what_a_teacher_is_told_to_love_is_what_is_found_in_its_answers(singular, plural):
    trait = find_trait(singular)
    assert trait.system_prompt(long=False) == f"You love {plural}."
    assert mentions(f"I love {plural}!", singular)
