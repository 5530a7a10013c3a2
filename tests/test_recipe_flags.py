"""A recipe's fields are flags and keywords: each one, from one description, with the same effect in both forms."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import faceswap_lab as lab
from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.splits import seeds_of
from faceswap_lab.cli.parser import parser
from faceswap_lab.cli.parsing import Parser, UsageError
from faceswap_lab.cli.recipe_flags import PREFIX, flag_of
from faceswap_lab.faces.footage import Clip
from faceswap_lab.models.training.team import Parallel
from faceswap_lab.runs.fields import FieldInfo, Recipe, fields_of
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.evaluate import evaluate as evaluate_module
from faceswap_lab.verbs.gather import gather as gather_module
from faceswap_lab.verbs.people import check_person
from faceswap_lab.verbs.render import render as render_module
from faceswap_lab.verbs.swap import swap as swap_module
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.train import train as train_module

PEOPLE = ["--source", "actor:7", "--target", "actor:32"]
VERBS: dict[str, tuple[list[str], Recipe]] = {
    "train": (["train", *PEOPLE], recipes.pair()),
    "pack": (["train", "--recipe", "pack"], recipes.pack()),
    "swap": (["swap", *PEOPLE], recipes.SwapRecipe()),
    "evaluate": (["evaluate", "swap-0"], recipes.EvaluateRecipe()),
    "render": (["render", "--actors", "0:10"], recipes.RenderRecipe()),
    "facesets": (["facesets", "add", "jane", "photos"], recipes.FacesetRecipe(name="jane")),
}
# Fields that a command says in another way than by the field's own flag.
ELSEWHERE = {("facesets", "name"), ("render", "first"), ("render", "num_actors")}
WORDS = {"template": "face", "engine": "insight:actors_s", "light": "lamp", "capture": "phone", "prop": "cup", "name": "other"}
CASES = [(verb, info) for verb, (_, recipe) in VERBS.items() for info in fields_of(type(recipe), recipe)]


class Asked(Exception):
    """Raised in a verb's place."""

    def __init__(self, recipe: Recipe, options: dict[str, Any]) -> None:
        super().__init__()
        self.recipe, self.options = recipe, options


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recipe]:
    """What recipe a command line asks its verb for."""

    def stop(*args: Any, **options: Any) -> None:
        raise Asked(options["recipe"] if "recipe" in options else args[0], options)

    for module, name in (
        (train_module, "train"),
        (swap_module, "swap"),
        (evaluate_module, "evaluate"),
        (render_module, "render"),
        (gather_module, "gather"),
    ):
        monkeypatch.setattr(module, name, stop)

    def ask(*words: str) -> Recipe:
        with pytest.raises(Asked) as caught:
            command_line.main(list(words))
        return caught.value.recipe

    return ask


def others(info: FieldInfo) -> Iterator[Any]:
    """Values that the field might also have."""
    value = info.default
    if isinstance(value, bool):
        yield not value
    elif info.choices:
        yield from (choice for choice in info.choices if choice != value)
    elif isinstance(value, str):
        yield WORDS[info.path.rpartition(".")[2]]
    elif value is None:
        yield 30.0
    elif isinstance(value, tuple):
        yield {"kinds": ("turn", "speech"), "shares": (0.5, 0.25, 0.25), "detector.net.widths": (8, 16, 24, 32)}[info.path]
    elif isinstance(value, int):
        yield from (value + 16, value + 1, value * 2 or 640)
    else:
        yield from (value / 2, value + 0.125)


def changed(recipe: Recipe, info: FieldInfo) -> tuple[Any, Recipe]:
    """Another value of the field that the recipe takes, and the recipe with it."""
    for value in others(info):
        try:
            made = recipe.with_(**{info.path.replace(".", "__"): value})
        except ValueError:
            continue
        assert made != recipe
        return value, made
    raise AssertionError(f"no other value of {info.path}")


def spelt(info: FieldInfo, value: Any) -> list[str]:
    flag = flag_of(info.path)
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]


@pytest.mark.parametrize(("verb", "info"), CASES, ids=[f"{verb}-{info.path}" for verb, info in CASES])
def test_every_field_is_set_by_its_flag_as_by_its_keyword(verb: str, info: FieldInfo, asked: Callable[..., Recipe]) -> None:
    words, recipe = VERBS[verb]
    value, made = changed(recipe, info)
    parts = info.path.split(".")
    owner = made
    for part in parts[:-1]:
        owner = getattr(owner, part)
    assert getattr(owner, parts[-1]) == value
    if (verb, info.path) in ELSEWHERE:
        return
    expected = recipes.pair(value) if info.path == "train.steps" and verb == "train" else made
    found = asked(*words, *spelt(info, value))
    assert found == expected
    assert to_json(found) == to_json(expected)


@pytest.mark.parametrize("verb", VERBS)
def test_without_flags_a_command_asks_for_the_plain_recipe(verb: str, asked: Callable[..., Recipe]) -> None:
    words, recipe = VERBS[verb]
    assert asked(*words) == recipe


def test_short_names_mean_the_same_field(asked: Callable[..., Recipe]) -> None:
    assert asked("train", *PEOPLE, "--steps", "50") == recipes.pair(50)
    swapped = asked("swap", *PEOPLE, "--select", "all", "--every", "3", "--colour", "mean", "--engine", "offline", "--preview", "2")
    assert swapped == recipes.SwapRecipe().with_(stream__select="all", stream__every=3, stream__colour="mean", preview=2)
    rendered = asked("render", "--actors", "5:9", "--views", "3", "--clips", "--kind", "turn", "--kind", "still", "--no-maps")
    kinds = ("turn", "still")
    assert rendered == recipes.RenderRecipe(first=5, num_actors=4, num_views=3, form="clips", kinds=kinds, maps=False)
    assert asked("render", "--first", "5", "--num-actors", "4") == recipes.RenderRecipe(first=5, num_actors=4)
    assert asked("facesets", "add", "jane", "x", "--every", "0.5") == recipes.FacesetRecipe(name="jane", every_s=0.5)


def test_flags_go_before_a_file_and_the_rest_is_the_files(tmp_path: Path, asked: Callable[..., Recipe]) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(to_json(recipes.smoke()))
    assert asked("train", *PEOPLE, "--recipe", str(path)) == recipes.smoke()
    made = asked("train", *PEOPLE, f"--recipe={path}", "--steps", "7", "--net.width", "16")
    assert made == recipes.smoke().with_(train__steps=7, net__width=16)
    assert asked("train", *PEOPLE, "--recipe", "smoke") == recipes.smoke()
    path.write_text(to_json(recipes.pack("smoke")))
    assert asked("train", "--recipe", str(path), "--points.steps", "9") == recipes.pack("smoke").with_(points__steps=9)
    path.write_text('{"stream": {"bach": 3}}')
    assert command_line.main(["swap", *PEOPLE, "--recipe", str(path)]) == 1


def test_an_unknown_flag_or_field_says_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    for words, near in (
        (["train", "--train.lerning-rate", "1"], "--train.learning-rate"),
        (["train", "--learning_rate=1"], "--train.learning-rate"),
        (["swap", "--batch", "4"], "--stream.batch"),
        (["facesets", "add", "x", "y", "--near-duplicate", "1"], "--near-duplicate-max"),
    ):
        with pytest.raises(SystemExit) as caught:
            command_line.main(words)
        assert caught.value.code == 2
        assert near in capsys.readouterr().err
    with pytest.raises(TypeError, match="did you mean train__learning_rate"):
        recipes.pair().with_(train__lerning_rate=1.0)
    with pytest.raises(TypeError, match="did you mean train__learning_rate"):
        recipes.pair().with_(learning_rate=1.0)
    with pytest.raises(TypeError, match="it has stream__batch"):
        recipes.SwapRecipe().with_(qqq=1)


def test_values_of_another_type_are_refused_in_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("5", 2.5, None):
        with pytest.raises(ValueError, match="train__steps"):
            recipes.pair().with_(train__steps=value)
    with pytest.raises(ValueError, match="at least 1"):
        recipes.pair().with_(train__steps=0)
    for words in (["--steps", "x"], ["--train.ema", "nan"], ["--tone", "pink"], ["--net.size", "2.5"]):
        with pytest.raises(SystemExit) as caught:
            command_line.main(["train", *PEOPLE, *words])
        assert caught.value.code == 2
    assert command_line.main(["train", *PEOPLE, "--steps", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_fields_that_are_checked_together_change_together() -> None:
    """The last 100 actors of a split: first and number agree only together."""
    end = seeds_of("train").stop
    sets = recipes.pack().with_(sets__first_train=end - 100, sets__num_train=100).sets
    assert (sets.first_train, sets.num_train) == (end - 100, 100)
    with pytest.raises(ValueError, match="split train"):
        recipes.pack().with_(sets__first_train=end - 100)


def test_a_whole_part_is_replaced_too() -> None:
    data = recipes.CropData(num_views=3)
    assert recipes.pair().with_(data=data).data == data
    assert recipes.pair().with_(data=data, data__seed=5).data == replace(data, seed=5)


def test_help_shows_meaning_default_and_choices_from_the_dataclasses() -> None:
    shown = " ".join(command_of("train").format_help().split())
    assert "--net.size N size is the crop's side in pixels, a multiple of 16; default: 96" in shown
    assert "--supervision {auto,truth,none}" in shown
    assert "--net.skips, --no-net.skips" in shown
    assert shown.startswith("usage: faceswap-lab train [-h]")
    usage = shown.partition("train a swapper")[0]
    assert "[recipe flags]" in usage
    assert "--net.size" not in usage


def test_a_recipe_shows_each_field_with_its_meaning_and_what_was_changed_in_bold() -> None:
    shown = recipes.pair(50)._repr_html_()
    assert all(f">{info.path}<" in shown for info in fields_of(recipes.PairRecipe))
    assert "<b>50</b>" in shown
    assert shown.count("<b>") == 2, "steps, and how often they are reported"
    meanings = {info.path: info.meaning for info in fields_of(recipes.PairRecipe)}
    assert meanings["train.learning_rate"].startswith("The learning rate"), "said by the class that it is inherited from"
    assert [path for path, meaning in meanings.items() if not meaning] == [], "each field of a pair's recipe is explained"
    assert "&lt;" in Escaped()._repr_html_()


@dataclass(frozen=True)
class Escaped(Recipe):
    """A `text`."""

    text: str = "<b>"


def test_every_recipe_class_can_be_changed() -> None:
    found = [value for value in vars(recipes).values() if is_dataclass(value) and str(value.__name__).endswith("Recipe")]
    assert {cls.__name__ for cls in found} == {
        f"{name}Recipe" for name in ("Pair", "Oneshot", "Pack", "Eyes", "Swap", "Evaluate", "Bench", "Faceset", "Render")
    }
    assert all(issubclass(cls, Recipe) for cls in found)
    assert [info.path for info in fields_of(recipes.FacesetRecipe) if info.default is MISSING] == ["name"]


# --- what one form can say, the other can -----------------------------------------------------------------------------------

FORMS: dict[str, Callable[..., Any]] = {
    "train": train_module.train,
    "swap": swap_module.swap,
    "evaluate": evaluate_module.evaluate,
    "render": render_module.render,
    "facesets add": gather_module.gather,
}
# Keyword in Python -> how the command line says it.
SPELT = {"result": "run", "paths": "paths", "select": f"{PREFIX}stream.select", "every": f"{PREFIX}stream.every"}
SPELT |= {
    "colour": f"{PREFIX}stream.colour",
    "search": f"{PREFIX}stream.search",
    "engine": f"{PREFIX}engine",
    "preview": f"{PREFIX}preview",
    "tone": f"{PREFIX}tone",
    "parallel": "ranks",
}
# What only Python has: what is called back in its own process.
IN_PYTHON_ONLY = {"watch"}
# What only the command line has -> how Python says it.
IN_PYTHON = {
    "json": lab.Run,
    "root": lab.init,
    "output": SwapRun.export,
    "sound": SwapRun.export,
    "accept_frames": SwapRun.export,
    "accept_faces": SwapRun.export,
    "accept_recognisable": SwapRun.export,
    "start": Clip.cut,
    "stop": Clip.cut,
    "who": lab.admit,
    "basis": lab.admit,
    "uses": lab.admit,
    "expires": lab.Consent,
    "partner": lab.Consent,
    "actors": recipes.RenderRecipe,
    "kind": recipes.RenderRecipe,
    "name": recipes.FacesetRecipe,
    "ca": lab.cluster,
    "cert": lab.cluster,
    "key": lab.cluster,
    "plain_tcp": lab.cluster,
    "accumulate": Parallel,
    "shard": Parallel,
    "compile": Parallel,
    "help": help,
}


def command_of(name: str) -> Parser:
    found: Any = parser()
    for word in name.split():
        (group,) = [action for action in found._actions if action.__class__.__name__ == "_SubParsersAction"]
        found = group.choices[word]
    found.format_help()
    return found


@pytest.mark.parametrize("name", FORMS)
def test_every_keyword_of_a_verb_is_on_the_command_line_and_the_reverse(name: str) -> None:
    keywords = set(inspect.signature(inspect.unwrap(FORMS[name])).parameters)
    destinations = {action.dest for action in command_of(name)._actions}
    # One word may be a field of one verb's recipe (`tone` of a swap) and an argument of another (`tone` of the truth).
    missing = {word for word in keywords - IN_PYTHON_ONLY if not destinations & {word, SPELT.get(word, word)}}
    assert not missing
    fields = {dest for dest in destinations if dest.startswith(PREFIX)}
    unknown = {dest for dest in destinations - fields - keywords - set(IN_PYTHON) if dest not in SPELT.values()}
    assert not unknown


@pytest.mark.weights
def test_a_keyword_goes_before_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: Any, __: str, recipe: recipes.SwapRecipe, *___: Any, **____: Any) -> None:
        raise Asked(recipe, {})

    monkeypatch.setattr(swap_module.SwapRun, "start", stop)
    recipe = recipes.SwapRecipe().with_(stream__select="largest", stream__batch=3, preview=5)
    take = Actor(32).perform("still", seconds=0.04, size=64)
    with pytest.raises(Asked) as caught:
        lab.swap(
            take, source=Actor(7), recipe=recipe, select="all", every=2, colour="mean", search=900, engine="offline", preview=1
        )
    wanted = recipe.with_(stream__select="all", stream__every=2, stream__colour="mean", stream__search=900, preview=1)
    assert caught.value.recipe == wanted
    with pytest.raises(ValueError, match="every"):
        lab.swap(take, source=Actor(7), every=0)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("actor:7", "lab.actor(7)"),
        ("actor:7/speech:3", "lab.actor(7).perform('speech', seed=3)"),
        ("faceset:jane", "lab.faceset('jane')"),
        ("jane.jpg", "lab.admit('jane.jpg', …)"),
    ],
)
def test_a_text_for_a_person_is_refused_with_what_to_write(text: str, written: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_person(text, "source")
    assert written in str(caught.value)


def test_a_usage_error_is_a_system_exit_of_2() -> None:
    error = UsageError(expected="this", got="that", remedy="do so")
    assert (error.code, error.got) == (2, "that")
