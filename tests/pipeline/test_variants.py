"""Parameters and variants: what may be set, what it sets, and what is said where it cannot be."""

import pytest

from export.bundle.errors import UsageError
from export.bundle.types import ModelSpec, Parameter, Published, Recipe, Variant
from pipeline.variants import set_from_words, variants, with_params

FIGURE = Published(figure=0.9, metric="test_accuracy", source="a document")
SPEC = ModelSpec(
    id="net",
    task="classification",
    dataset="mnist",
    build=lambda width, kind: (width, kind),
    inputs=(),
    outputs=(),
    recipes=(
        Recipe(name="fast", epochs=1, batch_size=8, optimizer="adam", learning_rate=0.5),
        Recipe(name="published", epochs=9, batch_size=64, optimizer="sgd", learning_rate=1.0),
    ),
    parameters=(
        Parameter(name="width", default=512, low=1, high=1000, help=""),
        Parameter(name="kind", default="relu", choices=("relu", "tanh"), help=""),
        Parameter(name="rate", default=1.0, low=1e-6, sets="learning_rate", help=""),
    ),
    variants=(
        Variant(published=FIGURE),
        Variant(
            params={"rate": 0.1},
            recipes=(Recipe(name="published", epochs=5, batch_size=64, optimizer="sgd", learning_rate=1.0),),
        ),
    ),
)


def recipe(spec, name):
    return next(r for r in spec.recipes if r.name == name)


def test_defaults_build_without_an_argument_and_have_no_variant():
    spec = with_params(SPEC, {})
    assert spec.build() == (512, "relu")
    assert (spec.variant, spec.published) == ("", FIGURE)


def test_a_parameter_of_the_recipe_changes_the_published_one_alone():
    spec = with_params(SPEC, {"rate": "0.25"})
    assert recipe(spec, "published").learning_rate == 0.25
    assert recipe(spec, "fast").learning_rate == 0.5
    assert spec.build() == (512, "relu")


def test_a_variant_brings_its_own_recipe_and_figure():
    spec = with_params(SPEC, {"rate": 0.1})
    assert (recipe(spec, "published").epochs, recipe(spec, "published").learning_rate) == (5, 0.1)
    assert spec.published is None
    assert spec.variant == "rate=0.1"


def test_what_no_document_gives_has_no_published_figure():
    spec = with_params(SPEC, {"width": "7", "kind": "tanh"})
    assert spec.build() == (7, "tanh")
    assert (spec.variant, spec.published) == ("width=7 kind=tanh", None)


def test_every_variant_is_listed_and_a_model_without_any_is_its_own():
    assert [v.variant for v in variants(SPEC)] == ["", "rate=0.1"]
    plain = ModelSpec(id="p", task="regression", dataset="gp", build=lambda: 3, inputs=(), outputs=(), published=FIGURE)
    assert [(v.variant, v.published) for v in variants(plain)] == [("", FIGURE)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"wdth": 1},
            "net has no parameter 'wdth'; it has width (a whole number from 1 to 1000), kind (one of relu, tanh)",
        ),
        ({"width": "0"}, "net: width=0 cannot be; it is a whole number from 1 to 1000"),
        ({"width": "1001"}, "net: width=1001 cannot be"),
        ({"width": "2.5"}, "net: width=2.5 cannot be"),
        ({"width": "many"}, "net: width=many cannot be"),
        ({"kind": "gelu"}, "net: kind=gelu cannot be; it is one of relu, tanh"),
        ({"rate": "nan"}, "net: rate=nan cannot be; it is a number from 1e-06"),
    ],
)
def test_what_makes_no_model_is_said_with_its_range(given, words):
    with pytest.raises(UsageError) as error:
        with_params(SPEC, given)
    assert words in str(error.value)


def test_words_are_pairs():
    assert set_from_words(["width=5", "kind=a=b"]) == {"width": "5", "kind": "a=b"}
    for word in ("width", "=5", "width="):
        with pytest.raises(UsageError, match="is no NAME=VALUE"):
            set_from_words([word])


def test_a_parameter_is_set_once():
    assert set_from_words(["width=5", "width=5"]) == {"width": "5"}
    with pytest.raises(UsageError, match="--set width=6: width is already set to 5"):
        set_from_words(["width=5", "width=6"])
