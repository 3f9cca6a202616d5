"""Kinds of models: the tiny one, which is made here, and published ones. Whatever one can do, the other can."""
