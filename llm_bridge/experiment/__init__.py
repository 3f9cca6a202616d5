"""The experiment's steps, each a function of models and data alone, and all of its knobs."""
