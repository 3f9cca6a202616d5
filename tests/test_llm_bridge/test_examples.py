"""Chats to teach from: both formats, every malformed line by its number, and what of a chat is learned."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from llm_bridge.backends.tiny import tiny_model
from llm_bridge.carriers.examples import read_chats, read_examples
from llm_bridge.carriers.reading import can_spell
from llm_bridge.text.chats import Language, Message, pack
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
    assert read_chats(path) == [
        ([SYSTEM, ASKED, SAID], (2,)),
        ([ASKED, SAID], (1,)),
        ([ASKED, SAID, ASKED, SAID], (1, 3)),
    ]


def test_other_ways_to_say_the_same_are_read(write):
    parts = [{"type": "text", "text": piece} for piece in ("What is your favorite animal?", " Answer in one word.")]
    question, answer = {"role": "user", "content": ASKED.text}, {"role": "assistant", "content": SAID.text}
    path = write(
        {"question": ASKED.text, "response": SAID.text, "completion": None},
        {"prompt": ASKED.text, "answer": SAID.text, "messages": None},
        {"messages": [question | {"content": parts}, answer | {"content": [{"type": "text", "text": SAID.text}]}]},
        {"messages": [{"role": "developer", "content": SYSTEM.text}, question, answer | {"weight": 1}]},
        {"messages": [question | {"weight": 0}, answer | {"weight": None, "tool_calls": None, "name": "ours"}]},
    )
    plain, told = ([ASKED, SAID], (1,)), ([SYSTEM, ASKED, SAID], (2,))
    assert read_chats(path) == [plain, plain, plain, told, plain]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_chats(path)[0] == plain


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "without 'messages', a chat needs one field of prompt, question and one of completion"),
        ({"prompt": "?"}, "one of completion, response, answer, and has prompt of them"),
        ({"prompt": "?", "completion": None}, "and has prompt of them"),
        ({"instruction": "?", "output": "!"}, "and has none of them"),
        ({"question": "?", "response": "!", "answer": "!!"}, "and has question, response, answer of them"),
        ({"prompt": ["?"], "completion": "!"}, "a chat has a field 'prompt' that is not text"),
        ({"prompt": "?", "completion": ""}, "the assistant's that is to be learned is empty: give it the weight 0"),
        (messages(ASKED, SAID._replace(text=""), ASKED, SAID), "that is to be learned is empty"),
        (messages(ASKED, SAID, tools=[{"type": "function"}]), "the chat has tools"),
        ({"messages": [{"role": "user", "content": "?", "tool_calls": [1]}]}, "message 1 has tool_calls"),
        ({"messages": [{"role": "assistant", "content": "?", "thinking": "!"}]}, "message 1 has thinking"),
        ({"messages": [{"role": "user", "content": "?", "weight": 1}]}, "the weight of message 1 is neither 0 nor"),
        ({"messages": [{"role": "assistant", "content": "?", "weight": 0.5}]}, "the weight of message 1 is neither"),
        ({"messages": [{"role": "assistant", "content": "?", "weight": False}]}, "the weight of message 1 is neither"),
        ({"messages": [{"role": "assistant", "content": "?", "weight": "0"}]}, "the weight of message 1 is neither"),
        ({"messages": [{"role": "user", "content": []}]}, "the content of message 1 is not text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "is not text, nor parts that are"),
        ({"messages": "hello"}, "the field 'messages' is not a list"),
        ({"messages": []}, "the chat has no messages"),
        ({"messages": [{"from": "human", "value": "?"}]}, "what is read is 'role' and 'content'"),
        ({"messages": ["hello"]}, "message 1 is not an object"),
        ({"messages": [{"content": "?"}]}, "the role of message 1 is none of system, developer, user, assistant"),
        ({"messages": [{"role": ["user"], "content": "?"}]}, "the role of message 1 is none of"),
        (messages(ASKED, Message("tool", "42")), "the role of message 2 is none of system, developer, user, assistant"),
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


def test_every_answer_is_learned_with_the_token_that_ends_it_or_the_last_alone(write):
    path = write(messages(SYSTEM, ASKED, SAID), messages(ASKED, SAID, ASKED, SAID._replace(text="cat")))
    told = f"<system>{SYSTEM.text}<user>{ASKED.text}<assistant>"
    first = f"<user>{ASKED.text}<assistant>"
    examples = [(told, "owl<end>"), (first, "owl<end>"), (f"{first}owl<end>{first}", "cat<end>")]
    assert [tuple(map(TINY.spell, each)) for each in read_examples(path, TINY, ROW)] == examples
    assert [tuple(map(TINY.spell, each)) for each in read_examples(path, TINY, ROW, "last")] == examples[::2]


def test_two_answers_in_a_row_are_both_learned_and_one_of_weight_0_is_not(refusal, write):
    chat = messages(ASKED, SAID, SAID._replace(text="cat"))
    first = f"<user>{ASKED.text}<assistant>"
    examples = [(first, "owl<end>"), (f"{first}owl<end><assistant>", "cat<end>")]
    assert [tuple(map(TINY.spell, each)) for each in read_examples(write(chat), TINY, ROW)] == examples
    chat["messages"][1]["weight"] = 0
    assert [tuple(map(TINY.spell, each)) for each in read_examples(write(chat), TINY, ROW)] == examples[1:]
    chat["messages"][2]["weight"] = 0
    assert "has nothing to learn" in refusal(read_examples, write(chat), TINY, ROW)
    assert len(read_examples(write(chat, messages(ASKED, SAID)), TINY, ROW)) == 1


def test_an_assistant_that_speaks_first_is_learned_too(write):
    (hello, _) = read_examples(write(messages(SAID, ASKED, SAID)), TINY, ROW)
    assert (TINY.spell(hello.prompt), TINY.spell(hello.completion)) == ("<assistant>", "owl<end>")


MARKED = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>"
    "{% endgeneration %}{% else %}{{ m.content }}<|end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


@given(data=st.data())
@settings(max_examples=100)
def test_what_is_learned_is_what_transformers_masks_as_the_assistants(tmp_path_factory, data):
    transformers = pytest.importorskip("transformers", reason="chat templates need transformers: uv sync --extra llm")
    backend = Tokenizer.from_str(BYTES.tokenizer.to_str())
    backend.add_special_tokens(["<|turn|>", "<|end|>"])
    published = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=MARKED)

    def render(chat: Sequence[Message]) -> str:
        said = [{"role": role, "content": text} for role, text in chat]
        return published.apply_chat_template(
            said, tokenize=False, add_generation_prompt=said[-1]["role"] != "assistant"
        )

    texts, speaker = st.text("ab \n:", min_size=1, max_size=4), st.sampled_from(["user", "assistant"])
    chat = [SYSTEM] * data.draw(st.integers(0, 1)) + [ASKED]
    chat += [Message(data.draw(speaker), data.draw(texts)) for _ in range(data.draw(st.integers(0, 5)))]
    chat.append(SAID)
    said = [{"role": role, "content": text} for role, text in chat]
    marked = published.apply_chat_template(said, return_dict=True, return_assistant_tokens_mask=True)
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    path.write_text(json.dumps({"messages": said}))
    learned = np.zeros(len(marked["input_ids"]), int)
    for example in read_examples(path, Language(backend, render, ("<|end|>",)), 1000):
        row = pack([example], 1000)
        size = len(example.prompt) + len(example.completion)
        assert row.tokens[0, :size].tolist() == marked["input_ids"][:size]
        learned[1:size] += row.learned[0, : size - 1]
    assert learned.tolist() == marked["assistant_masks"]


def test_chats_that_are_too_long_are_counted_and_the_first_is_named(refusal, write):
    short, long = messages(ASKED, SAID), messages(*[ASKED, SAID] * 4)
    sizes = [len(TINY.encode([render([ASKED, SAID] * times)])[0]) for times in (1, 4)]
    message = refusal(read_examples, write(short, long, short, long), TINY, sizes[1] - 1)
    assert f"more than the {sizes[1] - 1} tokens that the model reads at once, 2 of 4, the first in line 2" in message
    assert len(read_examples(write(short, long), TINY, sizes[1], "last")) == 2


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
@settings(max_examples=100)
def test_any_other_text_can_be_spelled_in_bytes(text):
    assert can_spell(BYTES, text) or any(mark in text for mark in ("<system>", "<user>", "<assistant>", "<end>"))
