"""Comparison with language models: one transformer at every size, and its sampler; the pipeline is not built yet."""
