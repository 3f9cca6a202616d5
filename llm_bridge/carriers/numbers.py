"""Number sequences, the carrier that no reader sees anything in."""

from functools import partial

from llm_bridge.carriers.carrier import Carrier
from llm_bridge.text.filtering import Rejection, parse_numbers
from llm_bridge.text.prompts import number_prompts, prefill_of


def numbers(*, short: bool, banned: frozenset[int] = frozenset(), prefill: bool = False) -> Carrier:
    """Build the carrier: prompts for a few more numbers; kept are sequences of numbers that aren't banned.

    With a prefill answers begin with the prompt's own list.
    """

    def rejects(prompt: str, completion: str, prefill: str = "") -> Rejection | None:
        return parse_numbers(completion, banned=banned, prefill=prefill).rejection

    rules = {"rule": "numbers only", "banned": sorted(banned)}
    begin = prefill_of if prefill else None
    return Carrier("numbers", partial(number_prompts, short=short), rejects, Rejection, rules, begin)
