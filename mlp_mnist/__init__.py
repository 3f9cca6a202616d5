"""Distillation on auxiliary logits: students learn digits from noise and unrelated outputs."""

import theory  # noqa: F401
