"""Comparison with language models: the whole pipeline from a teacher's trait to its students, one code at all sizes."""

import theory  # noqa: F401
