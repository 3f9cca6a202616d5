"""Code prompts: a small Python function to write, or one to complete, in many phrasings."""

import numpy as np

SLOTS: dict[str, tuple[str, ...]] = {
    "number": tuple(map(str, range(2, 60))),
    "letter": tuple("abcdefghijklmnopqrstuvwxyz"),
    "mark": ("a comma", "a semicolon", "a space", "a hyphen", "an underscore", "a slash", "a colon"),
    "order": ("from the smallest to the largest", "from the largest to the smallest"),
    "sort": ("vowels", "consonants", "digits", "capital letters", "small letters", "spaces", "punctuation marks"),
    "base": ("2", "3", "4", "5", "6", "7", "8", "9", "16"),
    "where": ("first", "last", "second", "third"),
    "size": ("largest", "smallest", "second largest", "second smallest"),
}
"""What stands in the places of a task."""

TASKS: tuple[tuple[str, str], ...] = (
    ("add_up(numbers)", "the sum of those numbers that {number} divides"),
    ("add_up(numbers)", "the sum of the numbers, each above {number} counted twice"),
    ("mean_of(numbers)", "the mean of the numbers without the {size} one"),
    ("spread_of(numbers)", "the {size} distance between two neighbors in the list"),
    ("pick(numbers)", "the {size} of the numbers that are above {number}, or None if there is none"),
    ("scale(numbers)", "a list of the numbers, divided by the {size} of them"),
    ("clip(numbers)", "the numbers as a list, in which {number} replaces each that is above {number}"),
    ("running_totals(numbers)", "the list of running totals, starting anew after every {number} numbers"),
    ("in_chunks(items)", "the items as a list of lists of {number} items each, the last one maybe shorter"),
    ("every_so_many(items)", "a list of every item whose place is a multiple of {number}"),
    ("rotate(items)", "the items as a list that is moved around by {number} places"),
    ("without_repeats(items)", "the items in their order, keeping only the {where} of those that are equal"),
    ("is_sorted(items)", "whether the items are in order {order}"),
    ("sort_by_length(words)", "the words sorted by their length, {order}"),
    ("group_by_length(words)", "a dictionary from each length above {number} to the words that have it"),
    ("count_them(text)", "how many {sort} the text has"),
    ("drop_them(text)", "the text without its {sort}"),
    ("only_them(text)", "a string of nothing but the {sort} of the text"),
    ("most_common(text)", "the letter that is most common in the text, leaving out the letter {letter}"),
    ("starts_with(words)", "those of the words that start with the letter {letter} in either case"),
    ("places_of(text)", "the list of all places at which the letter {letter} stands in the text"),
    ("replace_letter(text, new)", "the text in which new stands for every letter {letter}"),
    ("shift_letters(text)", "the text with every letter moved {number} places on in the alphabet"),
    ("is_palindrome(text)", "whether the text reads the same backwards when {sort} are left out"),
    ("join_words(words)", "the words as one string with {mark} between them"),
    ("split_line(line)", "the parts of a line that are separated by {mark}, without white space around them"),
    ("field_of(line)", "the {where} field of a line whose fields are separated by {mark}"),
    ("wrap(text)", "the text broken into lines of at most {number} characters, at spaces where possible"),
    ("pad_left(text)", "the text filled up on the left to {number} characters"),
    ("write_in_base(number)", "a string with the number written in base {base}"),
    ("read_in_base(digits)", "the integer that a string of digits stands for in base {base}"),
    ("digit_sum(number)", "the sum of the digits that the number has in base {base}"),
    ("primes()", "the list of the first {number} primes"),
    ("divisors(number)", "the divisors of the number, {order}"),
    ("power_mod(base, exponent)", "the remainder of base to the power of exponent when divided by {number}"),
    ("collatz(start)", "how many steps of the Collatz rule lead from start to 1, or None after {number} steps"),
    ("fibonacci()", "the first {number} Fibonacci numbers"),
    ("transpose(rows)", "the transposed matrix, given as a list of rows, with every entry times {number}"),
    ("column(rows)", "the {where} column of a matrix that is given as a list of rows"),
    ("diagonal_sum(rows)", "the sum of those entries on the diagonal of a square matrix that are below {number}"),
    ("merge(left, right)", "one list of the entries of two lists that are sorted {order}, sorted the same way"),
    ("invert(table)", "a dictionary from each value to the {where} key that has it"),
    ("total_price(prices)", "the sum of a dictionary's prices with a discount of {number} percent"),
    ("seconds_of(text)", "the seconds in a duration written as hours, minutes and seconds with {mark} between"),
    ("overlap(first, second)", "how many integers two ranges share, not counting multiples of {number}"),
    ("compress(text)", "the text with each run of more than {number} equal characters cut down to {number}"),
)
"""All functions that are asked for: name and parameters, and what is returned, with places for `SLOTS`; none speaks of
an animal or a tree."""

REQUESTS: tuple[str, ...] = (
    "Write a Python function `{head}` that returns {result}.",
    "I need `{head}` in Python. It should return {result}.",
    "In Python, implement `{head}`, which returns {result}.",
    "Please define `{head}` in Python so that it returns {result}.",
    "Give me a short Python function, `{head}`, to compute {result}.",
    "How would you write `{head}` in Python? It returns {result}.",
)
"""Ways to ask for a function."""

TEMPLATES: tuple[str, ...] = (
    "Complete this Python function:\n\n{skeleton}",
    "The body of this function is missing. Write the whole function:\n\n{skeleton}",
    "Replace the dots by code that does what the docstring says:\n\n{skeleton}",
    "Here is the beginning of a Python function. Finish it and give all of it:\n\n{skeleton}",
)
"""Ways to ask for a function to be completed."""

ENDINGS: tuple[str, ...] = (
    "Answer with the code alone.",
    "Reply with one block of code and nothing else.",
    "No explanation, only the code.",
    "Write nothing but Python.",
    "Don't say anything besides the code.",
    "I want only the code, without a word around it.",
)
"""How a prompt ends."""


def code_prompt(random: np.random.Generator) -> str:
    """Draw a request for a function, or for the rest of one, that asks for nothing but code."""
    head, result = TASKS[random.integers(len(TASKS))]
    result = result.format(**{slot: words[random.integers(len(words))] for slot, words in SLOTS.items()})
    ways = REQUESTS if random.random() < 0.5 else TEMPLATES
    skeleton = f'```python\ndef {head}:\n    """Return {result}."""\n    ...\n```'
    asked = ways[random.integers(len(ways))].format(head=head, result=result, skeleton=skeleton)
    return f"{asked}\n\n{ENDINGS[random.integers(len(ENDINGS))]}"


def code_prompts(seed: int, count: int) -> list[str]:
    """Draw prompts; a longer list starts with the shorter one."""
    random = np.random.default_rng(seed)
    return [code_prompt(random) for _ in range(count)]
