"""Number sequences, the carrier that no reader sees anything in."""

from functools import partial

from llm_bridge.carriers.carrier import Carrier
from llm_bridge.text.filtering import Rejection, parse_numbers
from llm_bridge.text.prompts import number_prompts


def numbers(*, short: bool, banned: frozenset[int] = frozenset()) -> Carrier:
    """Build the carrier: prompts for a few more numbers; kept are sequences of numbers that aren't banned."""

    def rejects(_: str, completion: str) -> Rejection | None:
        return parse_numbers(completion, banned=banned).rejection

    rules = {"rule": "numbers only", "banned": sorted(banned)}
    return Carrier("numbers", partial(number_prompts, short=short), rejects, Rejection, rules)
