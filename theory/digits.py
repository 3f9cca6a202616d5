"""Digits of a record: of every number as few as leave the verdicts of its claim as they are printed."""

from dataclasses import replace

import numpy as np

from theory.claim import Claim
from theory.runs.checks import Evidence
from theory.runs.verdicts import verdict_table

DIGITS = range(12, 53, 4)
"""Binary digits that are tried; a number of double precision has 53."""


def rounded(array: np.ndarray, digits: int) -> np.ndarray:
    """Round numbers to so many binary digits, the rest of which are zeros, that a file needs no room for.

    Args:
        array: Numbers of double precision; others are left as they are.
        digits: How many, from the first that is not zero.

    Returns:
        Numbers, each within a share of $2^{-digits}$ of what it was.
    """
    if array.dtype != np.float64:
        return array
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits)


def shortened(claim: Claim, evidence: Evidence) -> Evidence:
    """Round what was measured, quantity by quantity, as far as no verdict is printed differently.

    Args:
        claim: What judges it.
        evidence: What was measured.

    Returns:
        The same, rounded. Its verdicts are those that are recorded.
    """
    printed = verdict_table(claim.judge(evidence))
    for quantity in claim.measurement._fields:
        for digits in DIGITS:
            cases = {
                name: case._replace(**{quantity: rounded(getattr(case, quantity), digits)})
                for name, case in evidence.cases.items()
            }
            shorter = replace(evidence, cases=cases)
            if verdict_table(claim.judge(shorter)) == printed:
                evidence = shorter
                break
    return evidence
