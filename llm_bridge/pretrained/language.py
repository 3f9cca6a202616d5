"""How a published model reads and writes: the tokenizer and the chat template of its checkpoint."""

from pathlib import Path

from llm_bridge.files.extra import require_extra
from llm_bridge.files.objects import read_object
from llm_bridge.model.shapes import Config
from llm_bridge.pretrained.templates import read_template
from llm_bridge.text.chats import Language, Message
from theory.runs.command_line import InputError

PROBE = "Give 10, 2 or 7 as an answer."
"""What every tokenizer writes and reads; one whose files are missing is an empty one that can't."""


def read_language(folder: Path, config: Config) -> Language:
    """Read the tokenizer and the chat template of a checkpoint; no program that comes with it is run.

    What a chat without a system prompt says is up to its template.
    """
    transformers = require_extra("transformers")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        backend = tokenizer.backend_tokenizer
    except Exception as error:
        raise InputError(f"{folder} has no tokenizer that transformers can read without running its code") from error
    backend.no_padding()
    backend.no_truncation()
    if backend.decode(backend.encode(PROBE).ids).strip() != PROBE:
        raise InputError(f"{folder} has a tokenizer that doesn't give a text back, as where its files are missing")
    if (highest := max(backend.get_vocab().values())) >= config.vocabulary:
        raise InputError(f"{folder} has a tokenizer of {highest + 1} tokens for a model of {config.vocabulary}")

    render = read_template(tokenizer, folder)
    ids = {tokenizer.eos_token_id, *stop_ids(folder, config)} - {None}
    others = [text for number in sorted(ids) if (text := backend.id_to_token(number)) is not None]
    language = Language(backend, render, ())
    ends = tuple(dict.fromkeys([*end_of_turn(language), *others]))
    if not ends:
        raise InputError(f"{folder} names no token that ends a text: add eos_token_id to its generation_config.json")
    return language._replace(ends=ends)


def end_of_turn(language: Language) -> tuple[str, ...]:
    """Find the token that a chat writes behind what the assistant says, if it is one of those kept apart from text."""
    said = "yes"
    chat = language.render([Message("user", "?"), Message("assistant", said)])
    added = {token.content for token in language.tokenizer.get_added_tokens_decoder().values()}
    (behind,) = language.encode([chat.rpartition(said)[2]])
    first = language.tokenizer.id_to_token(behind[0]) if behind else None
    return (first,) if first in added else ()


def stop_ids(folder: Path, config: Config) -> tuple[int, ...]:
    """Read which tokens end a text, as `generation_config.json` and `config.json` name them."""
    found = set()
    for path in (folder / name for name in ("generation_config.json", "config.json")):
        named = read_object(path, "fetch the checkpoint anew").get("eos_token_id") if path.exists() else None
        for number in named if isinstance(named, list) else [] if named is None else [named]:
            if not isinstance(number, int) or not 0 <= number < config.vocabulary:
                raise InputError(f"{path} names eos_token_id={number!r:.40}, which is no token: fetch it anew")
            found.add(number)
    return tuple(sorted(found))
