"""The user's own model: a factory or a .pt2, an .npz, and every way in which they do not fit."""

import importlib.util

import numpy as np
import pytest

from export.bundle.errors import DataError, ExportError, PipelineError, TrainingError, UnknownName, UsageError
from export.formats._base import ExportOptions
from export.own import bound, load_own
from tests.export.conftest import Built
from tests.export.test_formats import FLOAT16_BAND, FLOAT32_BAND, error, run

LSTM = """
import torch


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = torch.nn.LSTM(5, 7, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(7, 3)

    def forward(self, letters, hidden=None):
        states, hidden = self.cell(letters, hidden)
        return self.head(states), hidden


def tagger():
    return Tagger()


def two(): return Two()


class Two(torch.nn.Module):
    def forward(self, a, mask):
        return {"sum": (a * mask).sum(1), "kept.count": mask.sum(1)}


def number(): return 3


def broken(): raise ValueError("no such layer")


def batch_bound(): return Bound()


class Bound(torch.nn.Module):
    def forward(self, x):
        return x.reshape(4, -1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    (place / "net.py").write_text(LSTM)
    random = np.random.default_rng(3)
    np.savez(place / "letters.npz", letters=random.standard_normal((12, 6, 5)))
    np.savez(place / "two.npz", mask=np.ones((4, 3), "float32"), a=random.standard_normal((4, 3)).astype("float32"))
    return place


@pytest.fixture(scope="module")
def lstm(folder, tmp_path_factory):
    own = load_own(f"{folder}/net.py:tagger", inputs=folder / "letters.npz", dynamic=("batch",))
    options = ExportOptions(max_batch=32, opt_batch=8)
    return own, Built(own.trained, own.example, tmp_path_factory.mktemp("lstm"), options)


def test_specs_are_found_by_running_the_model(lstm):
    own, _ = lstm
    assert [(s.name, s.dtype, s.shape) for s in own.trained.spec.inputs] == [("letters", "float32", ("batch", 6, 5))]
    assert [(s.name, s.shape) for s in own.trained.spec.outputs] == [
        ("output0", ("batch", 6, 3)),
        ("output1_0", (2, "batch", 7)),
        ("output1_1", (2, "batch", 7)),
    ]
    assert (own.trained.spec.id, own.trained.spec.task, own.trained.dataset.test) == ("net", "unlabelled", 12)
    assert (own.arrays["letters"].shape, own.example["letters"].shape) == ((12, 6, 5), (8, 6, 5))


@pytest.mark.parametrize("name", ["exported_program", "torchscript", "onnx", "onnx float16"])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_an_lstm_runs_in_every_form(lstm, name, batch):
    _, built = lstm
    arrays = {"letters": built.example["letters"][:batch]}
    answers, truth = run(name, built.path(name), arrays), built.truth(arrays)
    assert [a.shape for a in answers] == [(batch, 6, 3), (2, batch, 7), (2, batch, 7)]
    assert error(answers, truth) < (FLOAT16_BAND if "16" in name else FLOAT32_BAND)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_an_lstm_becomes_an_engine_in_both_precisions(lstm):
    _, built = lstm
    assert built.missing == []
    assert {"tensorrt sm80", "tensorrt float16 sm80"} <= built.artifacts.keys()
    assert built.artifacts["tensorrt sm80"].facts["profile"]["letters"]["max"] == [32, 6, 5]


def test_the_users_program_gives_the_same_bundle(lstm, folder, tmp_path):
    _, built = lstm
    program = built.path("exported_program")
    own = load_own(str(program), inputs=folder / "letters.npz", name="mine")
    assert [s.shape for s in own.trained.spec.inputs] == [("batch", 6, 5)]
    again = Built(own.trained, own.example, tmp_path, program=own.program, options=ExportOptions(max_batch=8))
    assert again.artifacts["weights"].sha256 == built.artifacts["weights"].sha256
    assert again.artifacts["exported_program"].content == built.artifacts["exported_program"].content
    arrays = {"letters": built.example["letters"][:7]}
    renamed = [s.name for s in own.trained.spec.outputs]
    assert renamed == ["output0", "output1", "output2"]
    for name in ("torchscript", "onnx", "onnx float16"):
        answers = run(name, again.path(name), arrays)
        assert error(answers, built.truth(arrays)) < (FLOAT16_BAND if "16" in name else FLOAT32_BAND), name


def test_a_program_with_keyword_inputs_and_nested_outputs_is_made_flat(tmp_path):
    import torch

    class Nested(torch.nn.Module):
        def forward(self, a, *, b):
            return {"first": a + b, "rest": [a * b, (a - b,)]}

    dim = torch.export.Dim("n", min=1)
    values = (torch.ones(3, 2), torch.full((3, 2), 2.0))
    made = torch.export.export(
        Nested(), values[:1], {"b": values[1]}, dynamic_shapes={"a": {0: dim}, "b": {0: dim}}, strict=False
    )
    torch.export.save(made, tmp_path / "nested.pt2")
    np.savez(tmp_path / "x.npz", b=values[1].numpy(), a=values[0].numpy())
    own = load_own(str(tmp_path / "nested.pt2"), inputs=tmp_path / "x.npz", dynamic=("batch",))
    built = Built(own.trained, own.example, tmp_path / "out", program=own.program)
    arrays = {"a": np.full((5, 2), 4, "float32"), "b": np.full((5, 2), 3, "float32")}
    for name in ("exported_program", "torchscript", "onnx", "onnx float16"):
        assert [float(y[4, 1]) for y in run(name, built.path(name), arrays)] == [7, 12, 1], name


def test_two_inputs_and_a_dict_of_outputs(folder, tmp_path):
    own = load_own(f"{folder}/net.py:two", inputs=folder / "two.npz", dynamic=("batch",))
    assert [s.name for s in own.trained.spec.inputs] == ["a", "mask"]
    assert [s.name for s in own.trained.spec.outputs] == ["sum", "kept_count"]
    built = Built(own.trained, own.example, tmp_path)
    arrays = {"a": np.full((1, 3), 2, "float32"), "mask": np.array([[1, 0, 1]], "float32")}
    for name in ("exported_program", "torchscript", "onnx", "onnx float16"):
        assert [float(y[0]) for y in run(name, built.path(name), arrays)] == [4, 2], name


def test_without_dynamic_the_shape_is_the_files_own(folder):
    own = load_own(f"{folder}/net.py:two", inputs=folder / "two.npz")
    assert [s.shape for s in (*own.trained.spec.inputs, *own.trained.spec.outputs)] == [(4, 3), (4, 3), (4,), (4,)]


@pytest.mark.slow
def test_resnet18_of_torchvision(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torchvision.models import resnet18\n\ndef make():\n    return resnet18(weights=None, num_classes=10)\n"
    )
    np.savez(tmp_path / "x.npz", np.random.default_rng(0).standard_normal((4, 3, 64, 64)).astype("float32"))
    own = load_own(f"{tmp_path}/net.py:make", inputs=tmp_path / "x.npz", dynamic=("batch",), name="resnet18")
    built = Built(own.trained, own.example, tmp_path / "out")
    assert [s.name for s in own.trained.spec.inputs] == ["x"]
    assert [row for row in built.missing if not row.format.startswith("tensorrt")] == []
    for name in ("exported_program", "torchscript", "onnx", "onnx float16"):
        arrays = {"x": own.example["x"][:3]}
        band = FLOAT16_BAND if "16" in name else FLOAT32_BAND
        assert error(run(name, built.path(name), arrays), built.truth(arrays)) < band, name


CASES = {
    "neither": ("net.txt", {}, UsageError, r"neither FILE.py:factory nor a .pt2"),
    "no file": ("absent.py:make", {}, UsageError, r"absent.py: no such file"),
    "no factory": ("net.py:taggr", {}, UnknownName, r"unknown factory in net.py 'taggr': did you mean 'tagger'\?"),
    "no module": ("net.py:number", {}, ExportError, r"returned int, not a torch.nn.Module"),
    "raises": ("net.py:broken", {}, ExportError, r"the factory.*fails: ValueError: no such layer"),
    "axis": ("net.py:tagger", {"dynamic": ("time",)}, UnknownName, r"unknown dynamic axis 'time'.*batch"),
    "no inputs": ("net.py:tagger", {"inputs": "absent.npz"}, DataError, r"absent.npz: no such file"),
    "not npz": (
        "net.py:tagger",
        {"inputs": "net.py"},
        DataError,
        r"net.py: is not a whole .npz; save it with numpy.savez",
    ),
    "pickled": ("net.py:tagger", {"inputs": "pickled.npz"}, DataError, r"a pickle perhaps; save it with numpy.savez"),
    "no array": ("net.py:tagger", {"inputs": "empty.npz"}, DataError, r"holds no array"),
    "does not run": (
        "net.py:tagger",
        {"inputs": "two_wide.npz"},
        ExportError,
        r"does not run on letters float32 \(4, 3\)",
    ),
    "missing input": (
        "net.py:two",
        {"inputs": "other.npz"},
        DataError,
        r"takes no input 'b'; it takes a, mask; it holds a, b",
    ),
    "uneven": ("net.py:two", {"inputs": "uneven.npz", "dynamic": ("batch",)}, DataError, r"one size of axis 0"),
    "pickled weights": (
        "net.py:tagger",
        {"weights": "net.py"},
        DataError,
        r"not whole safetensors.*a pickle is never read",
    ),
    "no weights": ("net.py:tagger", {"weights": "absent"}, DataError, r"absent: no such file"),
    "not a program": ("fake.pt2", {}, ExportError, r"fake.pt2: is not a program"),
    "no program": ("absent.pt2", {}, ExportError, r"absent.pt2: no such file"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line(folder, case):
    target, options, kind, words = CASES[case]
    np.savez(folder / "pickled.npz", letters=np.array([{}], dtype=object))
    np.savez(folder / "empty.npz")
    np.savez(folder / "two_wide.npz", letters=np.ones((4, 3)))
    np.savez(folder / "other.npz", a=np.ones((4, 3)), b=np.ones((4, 3)))
    np.savez(folder / "uneven.npz", a=np.ones((4, 3)), mask=np.ones((3, 3)))
    (folder / "fake.pt2").write_bytes(b"PK not a program")
    files = {k: folder / options[k] for k in ("inputs", "weights") if k in options}
    with pytest.raises(kind, match=words) as caught:
        load_own(
            f"{folder}/{target}", **{"inputs": folder / "letters.npz", **files}, dynamic=options.get("dynamic", ())
        )
    assert "\n" not in str(caught.value)


def test_what_a_program_cannot_take_is_said(lstm, folder, tmp_path):
    import torch

    program = str(lstm[1].path("exported_program"))
    with pytest.raises(UsageError, match=r"a \.pt2 holds its weights"):
        load_own(program, inputs=folder / "letters.npz", weights=folder / "w.safetensors")
    np.savez(tmp_path / "wide.npz", letters=np.ones((3, 6, 4), "float32"))
    with pytest.raises(
        DataError, match=r"'letters' is float32 \(3, 6, 4\); the program takes float32 \('batch', 6, 5\)"
    ):
        load_own(program, inputs=tmp_path / "wide.npz")
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(2, 3),)), tmp_path / "fixed.pt2")
    np.savez(tmp_path / "x.npz", np.ones((2, 3), "float32"))
    with pytest.raises(UsageError, match="exported with a fixed batch"):
        load_own(str(tmp_path / "fixed.pt2"), inputs=tmp_path / "x.npz", dynamic=("batch",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("head.bias"), r"weights of another model: 'head.bias' is missing in it"),
        (lambda w: w.update(extra=w["head.bias"]), r"it holds 'extra', which the model has not"),
        (lambda w: w.update({"head.bias": w["head.bias"][:2]}), r"'head.bias' has shape \(2,\) in it and \(3,\)"),
    ],
)
def test_weights_of_another_model_are_named(lstm, folder, tmp_path, change, words):
    from safetensors.numpy import load_file, save_file

    weights = dict(load_file(lstm[1].path("weights")))
    change(weights)
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(TrainingError, match=words):
        load_own(f"{folder}/net.py:tagger", weights=tmp_path / "w.safetensors", inputs=folder / "letters.npz")


def test_weights_are_loaded(lstm, folder):
    own, built = lstm
    assert own.trained.facts["weights"].startswith("as the factory made them")
    again = load_own(f"{folder}/net.py:tagger", weights=built.path("weights"), inputs=folder / "letters.npz")
    state = again.trained.module.state_dict()
    assert all((state[k] == v).all() for k, v in own.trained.module.state_dict().items())


def test_a_batch_that_the_model_fixes_is_said_with_the_librarys_words(folder, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((4, 6)))
    with pytest.raises(PipelineError, match=r"batch_bound: the model does not run on x float32 \(5, 6\)"):
        load_own(f"{folder}/net.py:batch_bound", inputs=tmp_path / "x.npz", dynamic=("batch",))


@pytest.mark.parametrize(
    ("stored", "parameters", "required", "names"),
    [
        (["image"], ["x", "y"], 1, ["image"]),
        (["arr_0"], ["x"], 1, ["x"]),
        (["arr_0", "arr_1"], ["x", "y"], 2, ["x", "y"]),
        (["y", "x"], ["x", "y", "z"], 2, ["x", "y"]),
    ],
)
def test_arrays_are_bound_to_parameters(tmp_path, stored, parameters, required, names):
    arrays = {name: np.zeros(1) for name in stored}
    assert list(bound(arrays, parameters, required, tmp_path)) == names
