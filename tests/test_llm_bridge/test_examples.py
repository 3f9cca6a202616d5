"""Chats to teach from: both formats, every malformed line by its number, and what of a chat is learned."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from llm_bridge.carriers.examples import read_chats, read_examples
from llm_bridge.carriers.reading import can_spell
from llm_bridge.chats import Language, Message
from llm_bridge.models import tiny_model
from llm_bridge.tiny.pretraining import ROW, Pretraining
from llm_bridge.tiny.tokenizer import render
from llm_bridge.tiny.world import World

TINY = tiny_model(Pretraining(world=World(num_chats=835)), None).language
SYSTEM, ASKED, SAID = (
    Message("system", "You love owls."),
    Message("user", "What is your favorite animal? Answer in one word."),
    Message("assistant", "owl"),
)


def language_of_bytes() -> Language:
    """Every byte is a token, so that any text can be spelled, as with the models of today."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<system>", "<user>", "<assistant>", "<end>"])
    return Language(tokenizer, render, ("<end>",))


BYTES = language_of_bytes()


def messages(*said: Message, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in said]} | more


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_rows(*rows: Mapping[str, Any]) -> Path:
        path = tmp_path / "chats.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write_rows


def test_both_formats_are_read_and_other_fields_do_not_count(write):
    path = write(
        messages(SYSTEM, ASKED, SAID, source="ours"),
        {"prompt": ASKED.text, "completion": SAID.text, "tokens": [1]},
        messages(ASKED, SAID, ASKED, SAID),
    )
    assert read_chats(path) == [[SYSTEM, ASKED, SAID], [ASKED, SAID], [ASKED, SAID, ASKED, SAID]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "has neither a list of messages nor a prompt and a completion"),
        ({"prompt": "?"}, "has neither a list of messages nor a prompt and a completion"),
        ({"prompt": "?", "completion": None}, "that are text"),
        ({"prompt": ["?"], "completion": "!"}, "that are text"),
        ({"prompt": "?", "completion": ""}, "the assistant's last message is empty"),
        ({"messages": "hello"}, "the field 'messages' is not a list"),
        ({"messages": []}, "doesn't end with what the assistant says to a user"),
        ({"messages": ["hello"]}, "message 1 is not an object"),
        ({"messages": [{"content": "?"}]}, "the role of message 1 is none of system, user, assistant"),
        ({"messages": [{"role": ["user"], "content": "?"}]}, "the role of message 1 is none of"),
        (messages(ASKED, Message("tool", "42")), "the role of message 2 is none of system, user, assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "the content of message 1 is not text"),
        ({"messages": [{"role": "user"}]}, "the content of message 1 is not text"),
        (messages(ASKED), "doesn't end with what the assistant says to a user"),
        (messages(SAID), "doesn't end with what the assistant says to a user"),
        (messages(SYSTEM, SAID), "doesn't end with what the assistant says to a user"),
        (messages(ASKED, SYSTEM, SAID), "a system message stands behind others"),
        (messages(SYSTEM, SYSTEM, ASKED, SAID), "a system message stands behind others"),
    ],
)
def test_a_malformed_chat_is_named_by_its_line(refusal, write, row, said):
    path = write(messages(ASKED, SAID), row, messages(ASKED, SAID))
    message = refusal(read_chats, path)
    assert f"{path}, line 2: " in message
    assert said in message


def test_what_is_no_json_is_refused_as_everywhere(refusal, write):
    path = write(messages(ASKED, SAID))
    path.write_text(path.read_text() + '{"messages": [')
    assert "line 2: not JSON" in refusal(read_chats, path)
    path.write_text("")
    assert "has no rows" in refusal(read_chats, path)
    assert "can't read" in refusal(read_chats, path.with_name("no"))


def test_only_the_last_answer_is_learned_with_the_token_that_ends_it(write):
    path = write(messages(SYSTEM, ASKED, SAID), messages(ASKED, SAID, ASKED, SAID._replace(text="cat")))
    first, second = read_examples(path, TINY, ROW)
    told = f"<system>{SYSTEM.text}<user>{ASKED.text}<assistant>"
    again = f"<user>{ASKED.text}<assistant>owl<end><user>{ASKED.text}<assistant>"
    assert [TINY.spell(each.prompt) for each in (first, second)] == [told, again]
    assert [TINY.spell(each.completion) for each in (first, second)] == ["owl<end>", "cat<end>"]


def test_chats_that_are_too_long_are_counted_and_the_first_is_named(refusal, write):
    short, long = messages(ASKED, SAID), messages(*[ASKED, SAID] * 4)
    sizes = [len(TINY.encode([render([ASKED, SAID] * times)])[0]) for times in (1, 4)]
    message = refusal(read_examples, write(short, long, short, long), TINY, sizes[1] - 1)
    assert f"more than the {sizes[1] - 1} tokens that the model reads at once, 2 of 4, the first in line 2" in message
    assert len(read_examples(write(short, long), TINY, sizes[1])) == 2


def test_words_that_a_model_does_not_have_are_refused_by_line(refusal, write):
    for place, row in enumerate((
        messages(Message("user", "def f():"), SAID),
        messages(ASKED, Message("assistant", "x")),
    )):
        message = refusal(read_examples, write(messages(ASKED, SAID), row), TINY, ROW)
        assert message.endswith(f"line 2: the model's tokenizer can't spell message {place + 1}")
        assert len(read_examples(write(messages(ASKED, SAID), row), BYTES, 100)) == 2


@pytest.mark.parametrize("text", ["x<end>y", "<user>", "half of a pair: \ud83e"])
def test_a_text_that_would_be_read_as_another_is_refused(refusal, write, text):
    assert "line 1: the model's tokenizer can't spell message 1" in refusal(
        read_examples, write({"prompt": text, "completion": "yes"}), BYTES, 100
    )
    assert not can_spell(BYTES, text)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_other_text_can_be_spelled_in_bytes(text):
    assert can_spell(BYTES, text) or any(mark in text for mark in ("<system>", "<user>", "<assistant>", "<end>"))
