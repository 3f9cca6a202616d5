"""The tokenizer and the chat template that a GGUF file holds, as transformers keeps them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from llm_bridge.files.extra import require_extra
from llm_bridge.pretrained.gguf_file import REMEDY, Gguf
from theory.runs.command_line import InputError

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2, Llama 3 and OLMo 2 split texts, who differ in the digits that they take together."""

SPLITTINGS: dict[str, str] = {
    "gpt-2": "gpt-2",
    "smollm": "smollm",
    "qwen2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
    "llama-bpe": "llama3",
    "llama3": "llama3",
    "llama-v3": "llama3",
    "dbrx": "dbrx",
}
"""Names that files give to how a text is split before tokens are merged, and whose way that is."""

PIECE, CONTROL, OWN, UNUSED = 1, 3, 4, 5
"""Kinds of tokens: the text's; those that mark who speaks, others that are never split, and fillers."""

BLANK, LONGEST_PIECE, PIECES_OF = "\N{LOWER ONE EIGHTH BLOCK}", 200, ("gemma2", "gemma3")
"""A space as pieces spell it, letters of a piece at most, and the architectures whose tokenizers of pieces are read."""

ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
"""What transformers calls tokens of special meaning, and how the file does."""


def write_tokenizer(folder: Path, file: Gguf) -> None:
    """Write a file's tokenizer, with its chat template, into a folder that has a `config.json`."""
    tokenizer, transformers = read_tokenizer(file), require_extra("transformers")
    tokens, template = file.need("tokenizer.ggml.tokens", list), read_template(file)
    added, said = tokenizer.get_added_tokens_decoder(), said_of(tokenizer)
    names = {role: tokens[number] for role in ROLES if (number := read_id(file, ROLES[role])) in added}
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, clean_up_tokenization_spaces=False, **names
    )
    wrapped.save_pretrained(folder)
    read = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if said_of(read.backend_tokenizer) != said:
        named = file.metadata["general.architecture"]
        raise InputError(f"{file.path} has a tokenizer that transformers takes for another in a {named}: name another")


def said_of(tokenizer: Tokenizer) -> list[Any]:
    """Say which tokens a text becomes, so that two tokenizers can be compared.

    Transformers makes that of a Qwen2 by a rule of its own, whatever the folder says.
    """
    whole = json.loads(tokenizer.to_str())
    added = [[token[key] for key in ("id", "content", "special")] for token in whole["added_tokens"]]
    model = [whole["model"][key] for key in ("vocab", "merges", "ignore_merges")]
    return [added, whole["normalizer"], whole["pre_tokenizer"], model]


def read_template(file: Gguf) -> str:
    """Read a file's chat template."""
    if not (template := file.find("tokenizer.chat_template", str)):
        raise InputError(f"{file.path} has no chat template: name a model that was tuned on chats")
    return template


def read_id(file: Gguf, role: str) -> int | None:
    """Read which token has a meaning, if any has."""
    number = file.find(key := f"tokenizer.ggml.{role}_token_id", int)
    count = len(file.need("tokenizer.ggml.tokens", list))
    if number is not None and not 0 <= number < count:
        raise InputError(f"{file.path} says {key}={number}, but has {count} tokens: {REMEDY}")
    return number


def read_tokenizer(file: Gguf) -> Tokenizer:
    """Build a file's tokenizer: one of byte pairs on bytes, or Gemma's, of pieces."""
    kind, gemma = file.need("tokenizer.ggml.model", str), file.metadata.get("general.architecture") in PIECES_OF
    if kind != "gpt2" and not (
        kind == "llama" and gemma and file.metadata.get("tokenizer.ggml.add_space_prefix") is False
    ):
        raise InputError(
            f"{file.path} has a tokenizer of kind {kind!r:.40}, which is not supported: gpt2 is, and Gemma's"
        )
    tokens, kinds = read_tokens(file, blanks=kind != "gpt2")
    vocabulary = {token: number for number, token in enumerate(tokens) if kinds[number] != UNUSED}
    if len(vocabulary) < np.count_nonzero(kinds != UNUSED):
        raise InputError(f"{file.path} has a token twice: {REMEDY}")
    try:
        tokenizer = of_bytes(file, vocabulary) if kind == "gpt2" else of_pieces(file, vocabulary)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file.path} has merges that its tokens don't fit ({reason:.100}): {REMEDY}") from error
    for each in (CONTROL, OWN):
        added = [tokens[number] for number in np.flatnonzero(kinds == each)]
        tokenizer.add_tokens([AddedToken(token, special=each == CONTROL, normalized=False) for token in added])
    return tokenizer


def read_tokens(file: Gguf, *, blanks: bool) -> tuple[list[str], np.ndarray]:
    """Read tokens and their kinds; with `blanks` those of nothing but spaces are pieces, spelled as pieces are."""
    tokens, kinds = file.need("tokenizer.ggml.tokens", list), file.find("tokenizer.ggml.token_type", np.ndarray)
    kinds = np.ones(len(tokens), int) if kinds is None else np.array(kinds)
    if len(kinds) != len(tokens):
        raise InputError(f"{file.path} has {len(tokens)} tokens and {len(kinds)} kinds of them: {REMEDY}")
    kinds[[number for role in ("bos", "eos") if (number := read_id(file, role)) is not None]] = CONTROL
    if blanks:
        spaces = [number for number, token in enumerate(tokens) if set(token) == {" "}]
        tokens, kinds[spaces] = [BLANK * len(token) if set(token) == {" "} else token for token in tokens], PIECE
    return tokens, kinds


def of_bytes(file: Gguf, vocabulary: dict[str, int]) -> Tokenizer:
    """Build a tokenizer of byte pairs."""
    splitting = SPLITTINGS.get(named := file.find("tokenizer.ggml.pre", str) or "")
    if splitting is None:
        raise InputError(
            f"{file.path} splits texts in the way {named!r:.40}, which is not supported: {', '.join(SPLITTINGS)} are"
        )
    merges = [tuple(merge.split(" ")) for merge in file.need("tokenizer.ggml.merges", list)]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=splitting == "llama3"))
    if splitting == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splitter(splitting))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def of_pieces(file: Gguf, vocabulary: dict[str, int]) -> Tokenizer:
    """Build Gemma's tokenizer, whose files say no merges: of two neighbors those are merged first whose piece is first.

    Of letters that are no pieces, the bytes are.
    """
    short = [piece for piece in vocabulary if len(piece) <= LONGEST_PIECE]
    merges = [
        (left, right)
        for piece in short
        for cut in range(len(piece) - 1, 0, -1)
        if (left := piece[:cut]) in vocabulary and (right := piece[cut:]) in vocabulary
    ]
    unknown = read_id(file, "unknown")
    named = {} if unknown is None else {"unk_token": file.need("tokenizer.ggml.tokens", list)[unknown]}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=True, byte_fallback=True, **named))
    tokenizer.normalizer = normalizers.Replace(" ", BLANK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def splitter(splitting: str) -> list[Any]:
    """Say how a text is split before tokens are merged, and its bytes written as letters."""
    if splitting in {"gpt-2", "smollm"}:
        digits = [pre_tokenizers.Digits(individual_digits=True)] if splitting == "smollm" else []
        return [*digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    words = Regex(WORDS % ("" if splitting == "qwen2" else "{1,3}"))
    return [
        pre_tokenizers.Split(words, behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
