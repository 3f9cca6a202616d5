"""The tiny language model: its world, its tokenizer and its pretraining, from nothing to a base model in minutes."""
