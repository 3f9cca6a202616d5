"""Published models: Qwen2, Qwen3, Llama 3 and Mistral checkpoints, their tokenizers, and adapters in PEFT's format."""
