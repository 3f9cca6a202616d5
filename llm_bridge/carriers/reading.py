"""Whether a model can read a text: the tiny one knows the words of its own world alone."""

from collections.abc import Sequence
from unicodedata import normalize

from llm_bridge.experiment.writing import Model
from llm_bridge.text.chats import Language
from theory.runs.command_line import InputError


def can_spell(language: Language, text: str) -> bool:
    """Tell whether a text's tokens spell it again, apart from how accents are composed (Unicode's NFC)."""
    written = text.encode(errors="replace").decode()
    return normalize("NFC", language.decode(language.encode([written]))[0]) == normalize("NFC", text)


def require_prompts(
    reader: Model,
    name: str,
    prompts: Sequence[str],
    num_tokens: int,
    systems: Sequence[str | None] = (None,),
    prefills: Sequence[str] = (),
) -> None:
    """Refuse prompts that a model can't read, the first hundred standing for all, or that leave no room to answer."""
    if not all(can_spell(reader.language, prompt) for prompt in prompts[:100]):
        raise InputError(
            f"the model can't read the prompts of --carrier {name}, whose words its tokenizer doesn't have: "
            "name a published model, or say --carrier numbers"
        )
    for system in systems:
        require_room(reader, prompts, num_tokens, system, prefills)


def require_room(
    reader: Model, prompts: Sequence[str], num_tokens: int, system: str | None = None, prefills: Sequence[str] = ()
) -> None:
    """Refuse prompts that leave no room for what a model is to write."""
    longest = max(map(len, reader.language.prompts(prompts, system, prefills)))
    if longest + num_tokens > reader.longest:
        raise InputError(
            f"a prompt of {longest} tokens and a completion of {num_tokens} don't fit the {reader.longest} that the "
            "model reads at once: raise --longest or lower --num-tokens"
        )
