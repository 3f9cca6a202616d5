"""Free-form evaluation: open questions, a judge that scores each answer, and the share of the misaligned."""
