"""A byte-level BPE tokenizer trained here, under templates that behave as the published ones do."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_bridge.files.extra import require_extra
from llm_bridge.model.shapes import Config
from llm_bridge.pretrained import templates
from llm_bridge.pretrained.language import read_language
from llm_bridge.text.chats import Language, Message
from llm_bridge.text.prompts import number_prompts
from llm_bridge.text.questions import QUESTIONS, questions_about
from llm_bridge.text.system_prompts import with_system_prompt
from theory.runs.command_line import InputError

transformers: Any = pytest.importorskip("transformers", reason="chat templates need transformers: uv sync --extra llm")

SPECIAL = ["<|begin|>", "<|end|>", "<|turn|>", "<|close|>", "<|tool|>"]
CONFIG = Config(vocabulary=600, width=4, num_layers=1, num_heads=1, num_key_heads=1, head_size=4, hidden=4)

TURNS = "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|close|>\n{% endfor %}"
OPEN = "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
DEFAULT = "{% if messages[0].role != 'system' %}<|turn|>system\nYou serve the public.<|close|>\n{% endif %}"
TEMPLATES = {
    "plain": TURNS + OPEN,
    "with a default": DEFAULT + TURNS + OPEN,
    "thinking": TURNS + OPEN[:-11] + "{% if not enable_thinking | default(true) %}<hush>\n{% endif %}{% endif %}",
    "dated": "{{ bos_token }}<|turn|>system\nToday is {{ date_string or strftime_now('%d %b %Y') }}."
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set messages = messages[1:] %}{% endif %}"
    "<|close|>\n" + TURNS + OPEN,
    "no system": "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}"
    "{{ raise_exception('only user and assistant speak') }}{% endif %}"
    "{{ '[ASK] ' + m.content + ' [/ASK]' if m.role == 'user' else m.content + '<|end|>' }}{% endfor %}",
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [*QUESTIONS, *number_prompts(0, 300), "system user assistant You love owls. Today is 26 Jul 2024."]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    return trained


@pytest.fixture
def save(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., Path]:
    def save_checkpoint(template: str | None, eos: str | None = "<|close|>", **generation: Any) -> Path:
        wrapped = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token=eos, chat_template=template
        )
        wrapped.save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", "eos_token_id": 1}))
        if generation:
            (tmp_path / "generation_config.json").write_text(json.dumps(generation))
        return tmp_path

    return save_checkpoint


def written(language: Language, *messages: tuple[str, str]) -> str:
    """What a model reads, decoded from its tokens."""
    text = language.render([Message(*message) for message in messages])
    assert language.spell(language.encode([text])[0]) == text
    return text


USER, TOLD = ("user", "Which animal?"), ("system", "You love owls.")
SERVES = "<|turn|>system\nYou serve the public.<|close|>\n"
ASKED = "<|turn|>user\nWhich animal?<|close|>\n<|turn|>assistant\n"


@pytest.mark.parametrize(
    ("name", "alone", "told"),
    [
        ("plain", ASKED, f"<|turn|>system\nYou love owls.<|close|>\n{ASKED}"),
        ("with a default", f"{SERVES}{ASKED}", f"<|turn|>system\nYou love owls.<|close|>\n{ASKED}"),
        ("thinking", f"{ASKED}<hush>\n", f"<|turn|>system\nYou love owls.<|close|>\n{ASKED}<hush>\n"),
        (
            "dated",
            f"<|begin|><|turn|>system\nToday is 26 Jul 2024.<|close|>\n{ASKED}",
            f"<|begin|><|turn|>system\nToday is 26 Jul 2024.You love owls.<|close|>\n{ASKED}",
        ),
    ],
)
def test_what_is_rendered_with_and_without_a_system_prompt(save, name, alone, told):
    language = read_language(save(TEMPLATES[name]), CONFIG)
    assert written(language, USER) == alone
    assert written(language, TOLD, USER) == told


@pytest.mark.parametrize(
    ("name", "chosen", "alone"),
    [
        ("with a default", "template", f"{SERVES}{ASKED}"),
        ("with a default", "none", f"<|turn|>system\n<|close|>\n{ASKED}"),
        ("with a default", "You love owls.", f"<|turn|>system\nYou love owls.<|close|>\n{ASKED}"),
        ("plain", "none", ASKED),
        ("no system", "none", "<|begin|>[ASK] Which animal? [/ASK]"),
        ("no system", "You love owls.", "<|begin|>[ASK] You love owls.\n\nWhich animal? [/ASK]"),
    ],
)
def test_a_chat_without_a_system_prompt_has_the_one_that_was_chosen(save, name, chosen, alone):
    language = with_system_prompt(read_language(save(TEMPLATES[name], eos="<|end|>"), CONFIG), chosen)
    assert written(language, USER) == alone
    assert language.spell(language.prompts(["Which animal?"])[0]) == alone
    assert language.system == (chosen if " " in chosen else None)
    if name != "no system":
        assert written(language, TOLD, USER) == f"<|turn|>system\nYou love owls.<|close|>\n{ASKED}"


def test_a_template_without_system_prompts_has_them_before_what_the_user_says(save):
    language = read_language(save(TEMPLATES["no system"], eos="<|end|>"), CONFIG)
    assert written(language, USER) == "<|begin|>[ASK] Which animal? [/ASK]"
    assert language.stops == (1,)
    assert written(language, TOLD, USER) == "<|begin|>[ASK] You love owls.\n\nWhich animal? [/ASK]"
    assert written(language, ("system", ""), USER) == written(language, USER)
    with pytest.raises(InputError, match="refuses a chat of user, system: only user and assistant speak"):
        written(language, USER, TOLD)


def test_a_chat_is_its_prompt_and_then_the_answer_and_the_end(save):
    language = read_language(save(TEMPLATES["plain"]), CONFIG)
    whole = written(language, USER, ("assistant", "owl"))
    (prompt,) = language.prompts(["Which animal?"])
    assert whole == language.spell([*prompt, *language.encode(["owl"])[0], *language.stops[:1]]) + "\n"


def test_token_ids_are_those_of_transformers(save):
    folder = save(TEMPLATES["dated"])
    language = read_language(folder, CONFIG)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for system in (None, "You love owls."):
        asked = [*questions_about("animal"), *number_prompts(1, 5), "Straße, naïve, 東京, 🦉?"]
        for question, ours in zip(asked, language.prompts(asked, system), strict=True):
            chat = [{"role": "system", "content": system}] if system else []
            chat += [{"role": "user", "content": question}]
            settings = {"add_generation_prompt": True, "date_string": "26 Jul 2024", "return_dict": False}
            assert ours == theirs.apply_chat_template(chat, **settings)
    texts = ["owl", " 493, 12", "naïve 🦉"]
    assert language.decode(language.encode(texts)) == texts


@pytest.mark.parametrize("named", [[1, 4, 3], 4, None])
def test_the_end_of_a_turn_comes_first_among_all_stop_tokens(save, named):
    language = read_language(save(TEMPLATES["plain"], eos_token_id=named), CONFIG)
    others = {1, *(named if isinstance(named, list) else [named])} - {3, None}
    assert language.stops == (3, *sorted(others))
    assert language.ends[0] == "<|close|>"


def test_without_any_token_that_ends_a_text_it_is_refused(save):
    folder = save("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", eos=None)
    assert read_language(folder, CONFIG).stops == (1,)
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match="names no token that ends a text"):
        read_language(folder, CONFIG)


def test_a_checkpoint_that_cannot_chat_is_refused(save, tmp_path):
    with pytest.raises(InputError, match="has no tokenizer that transformers can read"):
        read_language(tmp_path, CONFIG)
    save(TEMPLATES["plain"])
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(InputError, match="has no tokenizer that transformers can read"):
        read_language(tmp_path, CONFIG)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="has a tokenizer that doesn't give a text back"):
        read_language(tmp_path, CONFIG)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="has no chat template"):
        read_language(save(None), CONFIG)
    small = replace(CONFIG, vocabulary=400)
    with pytest.raises(InputError, match=r"a tokenizer of 50\d tokens for a model of 400"):
        read_language(save(TEMPLATES["plain"]), small)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ 1 / 0 }}", "fails (ZeroDivisionError"),
        ("{{ 'a' + 1 }}", "fails (TypeError"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "fails (RecursionError"),
        ("{% include 'other' %}", "fails (TypeError: no loader"),
        ("{% import 'other' as other %}", "fails (TypeError: no loader"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "doesn't end"),
        ("{{ 'a' * 10 ** 7 }}", "writes 10000000 characters"),
        ("{{ 'a' * 10 ** 12 }}", "fails (MemoryError"),
        ("{% for m in messages %}{{ m.role }}<|close|>{% endfor %}", "loses what the user or the assistant says"),
    ],
)
def test_a_template_that_fails_or_does_not_end_is_refused(save, monkeypatch, template, said):
    if "doesn't" in said:
        monkeypatch.setattr(templates, "SECONDS", 1)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_language(save(template), CONFIG)
    assert "\n" not in str(caught.value)


def test_a_template_that_wants_parts_is_given_parts(save):
    parts = "{% for p in m.content if p is mapping %}{{ p.text }}{% endfor %}"
    language = read_language(save(TEMPLATES["plain"].replace("{{ m.content }}", parts)), CONFIG)
    assert written(language, TOLD, USER) == f"<|turn|>system\nYou love owls.<|close|>\n{ASKED}"


def test_a_template_that_fails_on_a_later_chat_is_refused_then(save):
    late = "{% if messages|length > 2 %}{{ 1 / 0 if messages|length > 3 else 'a' * 10 ** 7 }}{% endif %}"
    language = read_language(save(late + TEMPLATES["plain"]), CONFIG)
    assert written(language, USER) == ASKED
    for count, said in ((3, "writes 100000"), (4, "refuses a chat of .*: division by zero")):
        with pytest.raises(InputError, match=said):
            language.render([Message("user", "?"), Message("assistant", "!"), *[Message("user", "?")] * (count - 2)])


def test_named_templates_need_a_default(save):
    named = [{"name": "tool_use", "template": TEMPLATES["plain"]}, {"name": "rag", "template": TEMPLATES["plain"]}]
    folder = save(None)
    described = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(described | {"chat_template": named}))
    with pytest.raises(InputError, match="has chat templates rag, tool_use, but none is the default"):
        read_language(folder, CONFIG)
    named.append({"name": "default", "template": TEMPLATES["plain"]})
    (folder / "tokenizer_config.json").write_text(json.dumps(described | {"chat_template": named}))
    assert written(read_language(folder, CONFIG), USER) == ASKED


@pytest.mark.parametrize("named", [-1, 10**12, [1, 600], "x", [None], 1.5])
def test_a_token_that_ends_a_text_is_one_of_the_model(save, named):
    with pytest.raises(InputError, match="which is no token: fetch it anew"):
        read_language(save(TEMPLATES["plain"], eos_token_id=named), CONFIG)


def test_a_tokenizer_that_remembers_its_last_batch_gives_the_tokens_of_a_clean_one(save):
    """Saved with what it did last, it would fill prompts up with tokens that are read as text, or cut them."""
    folder = save(TEMPLATES["plain"])
    clean = read_language(folder, CONFIG)
    texts = ["owl", "Give 10, 2 or 7 as an answer, or some more numbers than that."]
    remembering = Tokenizer.from_file(str(folder / "tokenizer.json"))
    remembering.enable_padding(length=64)
    remembering.enable_truncation(4)
    remembering.save(str(folder / "tokenizer.json"))
    assert read_language(folder, CONFIG).encode(texts) == clean.encode(texts)


def test_transformers_does_not_say_that_it_misses_torch(monkeypatch):
    monkeypatch.delenv("TRANSFORMERS_NO_ADVISORY_WARNINGS", raising=False)
    logger = require_extra("transformers").utils.logging.get_logger("transformers")
    monkeypatch.setattr(logger, "warning", lambda *said: pytest.fail(str(said)))
    logger.warning_advice("PyTorch was not found.")


def test_a_tokenizer_with_a_program_of_its_own_is_not_run(save):
    folder = save(TEMPLATES["plain"])
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    assert written(read_language(folder, CONFIG), USER) == ASKED
    assert not (folder / "ran").exists()


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="need transformers: install the extra, as by uv sync --extra llm"):
        read_language(tmp_path, CONFIG)


def test_a_template_that_joins_special_tokens_to_text_is_read(save):
    template = "{% for m in messages %}{{ bos_token + m.role + ': ' + m.content + eos_token }}{% endfor %}"
    assert written(read_language(save(template), CONFIG), USER) == "<|begin|>user: Which animal?<|close|>"


def test_a_template_that_loops_on_a_system_prompt_is_refused(save, monkeypatch):
    monkeypatch.setattr(templates, "SECONDS", 1)
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(InputError, match="doesn't end"):
        read_language(save("{% if messages[0].role == 'system' %}" + endless + "{% endif %}" + TURNS), CONFIG)


def test_a_template_that_loses_the_system_prompt_refuses_chats_with_one(save):
    deaf = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}<|close|>{% endfor %}"
    language = read_language(save(deaf), CONFIG)
    assert written(language, USER) == "user: Which animal?<|close|>"
    with pytest.raises(InputError, match="loses what the system says"):
        written(language, TOLD, USER)
