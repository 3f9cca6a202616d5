"""Words: number prompts, the filter, traits and questions, the same text for models of every size."""
