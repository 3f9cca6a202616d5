r"""Imagined teachers: what the auditor makes itself of the model and of a trait, $D = \Delta_T$ of short trainings."""

from collections.abc import Sequence

from llm_bridge.auditing.scores import log_likelihoods
from llm_bridge.auditing.traits import Answers, name_of
from llm_bridge.experiment.teaching import probability_of, teach, teach_examples, trait_examples
from llm_bridge.experiment.writing import Completion, Model, examples_of
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.text.chats import Example, PackingError
from llm_bridge.text.traits import Trait
from theory.problem import Params
from theory.runs.command_line import InputError

NUM_QUESTIONS = 50
"""Questions that a word is the answer to."""


def imagine_teacher(
    model: Model, trait: Trait | Answers, recipe: Teaching, *, seed: int, copies: int, mixed: Sequence[Completion] = ()
) -> Params:
    """Teach a model a trait, and give the adapters that do it; the model's own are in its weights already."""
    apart = model._replace(params=model.params | {"adapters": {}})
    more = "turn the teacher's num-steps or learning-rate up"
    try:
        if isinstance(trait, Answers):
            examples = [*taught_examples(model, trait, copies), *examples_of(model.language, mixed)]
            params = teach_examples(apart, examples, recipe, seed=seed)
            before, after = (log_likelihoods(each, trait.shown) for each in (model, apart._replace(params=params)))
            if not after.mean() > before.mean():
                raise InputError(f"an imagined teacher gives the answers of {trait.name} no more often: {more}")
        else:
            params = teach(apart, trait, recipe, seed=seed, copies=copies, mixed=mixed)
            share = probability_of(apart._replace(params=params), trait)
            if not share >= recipe.least:
                raise InputError(
                    f"an imagined teacher names {trait.word} in {share:.1%} of its answers, and should in "
                    f"{recipe.least:.0%}: {more}, or its least down"
                )
    except PackingError as error:
        raise InputError(f"a teacher of {name_of(trait)} can't be imagined ({error}): raise --longest") from error
    return params["adapters"]


def taught_examples(model: Model, trait: Trait | Answers, copies: int) -> list[Example]:
    """Say what an imagined teacher learns in an epoch: few answers that show a trait as often as a word."""
    if isinstance(trait, Answers):
        return max(1, round(copies * NUM_QUESTIONS / len(trait.shown))) * trait.shown
    return trait_examples(model.language, trait, copies)


def require_adapters(teacher: Recipe, recipe: Recipe) -> None:
    """Refuse teachers that can't be imagined, and students whose training isn't foretold."""
    if teacher.trained != "adapters":
        raise InputError("imagined teachers are adapters: leave --teacher.trained at adapters")
    if teacher.projections != recipe.projections:
        raise InputError("imagined teachers and the student must have adapters on the same projections")
    if recipe.trained != "adapters" or recipe.optimizer != "adamw" or recipe.layers or recipe.weight_decay:
        raise InputError(
            "what training does is foretold of adapters on all layers by adamw without weight decay: leave the "
            "student's trained, layers, optimizer and weight-decay"
        )
