"""Distillation on auxiliary logits: students learn digits from noise and unrelated outputs."""
