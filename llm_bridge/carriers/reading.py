"""Whether a model can read a text: the tiny one knows the words of its own world alone."""

from collections.abc import Sequence
from unicodedata import normalize

from llm_bridge.chats import Language
from theory.command_line import InputError


def can_spell(language: Language, text: str) -> bool:
    """Tell whether a model reads and writes a text without loss.

    Args:
        language: How it does.
        text: The text.

    Returns:
        Whether its tokens spell the text again, apart from how accents are composed (Unicode's NFC).
    """
    written = text.encode(errors="replace").decode()
    return normalize("NFC", language.decode(language.encode([written]))[0]) == normalize("NFC", text)


def require_prompts(language: Language, name: str, prompts: Sequence[str]) -> None:
    """Refuse prompts that a model can't read.

    Args:
        language: How the model reads.
        name: The prompts' carrier.
        prompts: Some of them.

    Raises:
        InputError: If the tokenizer can't spell one.
    """
    if not all(can_spell(language, prompt) for prompt in prompts):
        raise InputError(
            f"the model can't read the prompts of --carrier {name}, whose words its tokenizer doesn't have: "
            "name a published model, or say --carrier numbers"
        )
