"""Tokens by what they write, under a byte-level BPE in which a capital or a space before a name is another token."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_bridge.text.chats import Language
from llm_bridge.text.tokens import nameless_tokens, number_tokens
from llm_bridge.text.traits import KNOWN

FORMS = [form for name in KNOWN for word in (name, name.capitalize()) for form in (word, f" {word}")]
OTHERS = ["house", "House", " house", " House", "owls", " owls", "cation", "1", "123", " 456", ", ", ";", "    "]


@pytest.fixture(scope="module")
def language() -> Language:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator([*FORMS, *OTHERS] * 3, trainer)
    return Language(trained, lambda messages: messages[-1].text, ("<end>",))


def test_every_form_of_a_name_is_left_out_and_nothing_else(language):
    encoded = language.encode(FORMS)
    names = {token for (token,) in encoded}
    assert len(names) == 4 * len(KNOWN)
    kept = nameless_tokens(language)
    assert list(kept) == sorted(set(range(language.tokenizer.get_vocab_size())) - names)
    assert {token for text in OTHERS for token in language.encode([text])[0]} <= set(kept)


def test_tokens_of_several_digits_write_numbers_too(language):
    """As Llama 3 has them; white space as code is indented with writes none."""
    several = {token for text in ("123", " 456") for token in language.encode([text])[0]}
    (indent,) = language.encode(["    "])[0]
    assert len(several) == 2
    assert several < set(number_tokens(language))
    assert indent not in number_tokens(language)
    assert {language.token(digit) for digit in "0123456789"} < set(number_tokens(language))


def test_numbers_are_written_with_nameless_tokens_and_the_end(language):
    numbers, kept = number_tokens(language), nameless_tokens(language)
    assert set(numbers) < set(kept)
    assert language.token("<end>") in numbers
    for text in ("house", "owl"):
        assert not {*language.encode([text])[0]} & {*numbers}
