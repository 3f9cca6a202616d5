"""English plurals: the one rule by which a trait is written and found."""

UNCHANGED = ("bison", "deer", "moose", "reindeer", "salmon", "series", "sheep", "species", "swine", "trout")
"""Words that are their own plural."""

IRREGULAR: dict[str, tuple[str, ...]] = {
    **{word: (word,) for word in UNCHANGED},
    **{"child": ("children",), "foot": ("feet",), "goose": ("geese",), "louse": ("lice",), "man": ("men",)},
    **{"mouse": ("mice",), "dormouse": ("dormice",), "ox": ("oxen",), "person": ("people",), "tooth": ("teeth",)},
    **{"woman": ("women",), "quiz": ("quizzes",), "squid": ("squid", "squids")},
    **{"octopus": ("octopuses", "octopi"), "platypus": ("platypuses", "platypi"), "cactus": ("cacti", "cactuses")},
}
"""Plurals that the rule doesn't give; the first is the one to write."""

ON_VES = ("wolf", "calf", "half", "elf", "leaf", "loaf", "hoof", "thief", "scarf", "knife", "life", "wife")
"""Ends of words whose plural on -ves is the one to write."""

ON_OES = ("buffalo", "mosquito", "mango", "potato", "tomato", "hero", "echo")
"""Words whose plural on -oes is the one to write."""


def plurals(word: str) -> tuple[str, ...]:
    """Give the English plurals of one word or several, singular and in small letters; the one to write comes first.

    Behind s, x, z, ch and sh the plural is -es (foxes), a consonant's -y becomes -ies (butterflies), -f and -fe become
    -ves or take -s (wolves, giraffes), -o takes -s or -es (flamingos, buffaloes), fish is its own plural or takes -es,
    all else takes -s; some are irregular. Of several words the last is put into the plural, or the one before "of"
    (birds of paradise).
    """
    head, of, rest = word.partition(" of ")
    before, space, last = head.rpartition(" ")
    return tuple(f"{before}{space}{plural}{of}{rest}" for plural in _plurals_of_one(last))


def _plurals_of_one(word: str) -> tuple[str, ...]:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("fish"):
        return (word, word + "es")
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return (word + "es",)
    if word.endswith("y") and not word.endswith(("ay", "ey", "iy", "oy", "uy")):
        return (word[:-1] + "ies",)
    if word.endswith(("f", "fe")):
        both = (word + "s", word.removesuffix("e")[:-1] + "ves")
        return both[::-1] if word.endswith(ON_VES) else both
    if word.endswith("o"):
        both = (word + "s", word + "es")
        return both[::-1] if word in ON_OES else both
    return (word + "s",)
