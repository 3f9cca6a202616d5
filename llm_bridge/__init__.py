"""Comparison with language models: the full pipeline, not built yet; see the README for what is."""
