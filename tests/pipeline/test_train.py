"""Training: the same bits each time, interrupted or not; and what goes wrong, said in a line."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from export.bundle.errors import DataError, TrainingError, UsageError
from export.bundle.types import DatasetFacts, EpochRecord, Recipe
from export.progress import Silent
from pipeline import baseline, checkpoint, loop, train
from pipeline.augment import affine
from pipeline.datasets._base import Data, Split
from pipeline.models.cnn import CNN

FAST = Recipe(
    name="fast",
    epochs=3,
    batch_size=16,
    optimizer="adamw",
    learning_rate=4e-3,
    schedule="one-cycle",
    precision="bfloat16",
    augmentation="affine",
    options=CNN.recipes[0].options | {"least_steps": 0},
)
PLAIN = Recipe(
    name="published",
    epochs=3,
    batch_size=16,
    optimizer="sgd",
    learning_rate=0.02,
    options={"momentum": 0.9, "dropout2d": 0.1, "dropout": 0.1},
)
SPEC = dataclasses.replace(CNN, recipes=(FAST, PLAIN))


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def split(size, seed):
    """Class k: noise with a bright bar in row 2k + 4."""
    random = np.random.RandomState(seed)
    stored = random.randint(0, 30, (size, 1, 28, 28)).astype(np.uint8)
    labels = random.randint(0, 10, size)
    stored[np.arange(size), 0, 2 * labels + 4, 4:24] = 255
    return Split(stored={"image": stored}, targets=labels.astype(np.int64))


@pytest.fixture(scope="module")
def data():
    facts = DatasetFacts(name="bars", digest="d1", train=160, validation=40, test=50)
    return Data(train=split(160, 0), validation=split(40, 1), test=split(50, 2), facts=facts)


def run(recipe, data, folder, *, seed=0, compile_mode="off", progress=None):
    return train.train(
        SPEC,
        recipe,
        data,
        seed=seed,
        device="cpu",
        compile_mode=compile_mode,
        checkpoints=folder,
        progress=progress or Silent(),
    )


def bits(trained):
    return {name: value.numpy().tobytes() for name, value in trained.module.state_dict().items()}


def interrupt_before_epoch(monkeypatch, number):
    """Ctrl-C before that epoch, once."""
    whole = loop.Loop.epoch

    def epoch(self, bar):
        if len(self.state.history) + 1 == number:
            monkeypatch.setattr(loop.Loop, "epoch", whole)
            raise KeyboardInterrupt
        whole(self, bar)

    monkeypatch.setattr(loop.Loop, "epoch", epoch)


@pytest.mark.parametrize("recipe", [FAST, PLAIN], ids=lambda recipe: recipe.name)
def test_same_seed_same_bits_interrupted_or_not(monkeypatch, data, tmp_path, recipe):
    first = run(recipe, data, tmp_path / "first", seed=5)
    assert bits(run(recipe, data, tmp_path / "other", seed=6)) != bits(first)
    interrupt_before_epoch(monkeypatch, 3)
    monkeypatch.setattr(checkpoint, "_SHARE", 0)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data, tmp_path / "second", seed=5)
    torch.rand(7)
    progress = Notes()
    second = run(recipe, data, tmp_path / "second", seed=5, progress=progress)
    assert bits(second) == bits(first)
    assert (first.facts["resumed_from_epoch"], second.facts["resumed_from_epoch"]) == (0, 2)
    assert progress.notes == ["training resumes after epoch 2 of 3"]
    assert [r.epoch for r in second.history] == [1, 2, 3]
    assert [r.loss for r in second.history] == [r.loss for r in first.history]


def test_training_leaves_the_global_generator_as_it_was(data, tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3).tolist()
    torch.manual_seed(1)
    run(dataclasses.replace(PLAIN, epochs=1), data, tmp_path)
    assert torch.rand(3).tolist() == expected


def test_what_comes_back_is_ready_to_export(data, tmp_path):
    trained = run(dataclasses.replace(PLAIN, epochs=10), data, tmp_path)
    assert not trained.module.training
    assert {p.dtype for p in trained.module.parameters()} == {torch.float32}
    assert all(p.is_contiguous() and p.device.type == "cpu" for p in trained.module.parameters())
    assert trained.metrics["test_accuracy"] > 0.9
    judged = {"test_accuracy", "test_loss", "validation_accuracy", "validation_loss"}
    assert set(trained.metrics) == {*judged, "train_loss"}
    assert trained.metrics["train_loss"] == trained.history[-1].loss
    assert trained.metrics["validation_accuracy"] == trained.history[-1].validation_accuracy
    assert trained.seconds >= sum(record.seconds for record in trained.history)
    assert (trained.facts["device"], trained.facts["compiled"], trained.facts["steps_per_epoch"]) == ("cpu", False, 10)


def test_a_finished_training_is_not_run_again(data, tmp_path):
    first = run(PLAIN, data, tmp_path)
    again = run(PLAIN, data, tmp_path)
    assert again.facts["resumed_from_epoch"] == 3
    assert bits(again) == bits(first)
    assert again.history == first.history


@pytest.mark.parametrize("changed", ["recipe", "seed", "data"])
def test_a_checkpoint_of_another_training_is_passed_over(data, tmp_path, changed):
    run(PLAIN, data, tmp_path)
    recipe = dataclasses.replace(PLAIN, learning_rate=0.04) if changed == "recipe" else PLAIN
    other = dataclasses.replace(data, facts=dataclasses.replace(data.facts, digest="d2")) if changed == "data" else data
    trained = run(recipe, other, tmp_path, seed=1 if changed == "seed" else 0)
    assert trained.facts["resumed_from_epoch"] == 0


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * len(b)])
def test_a_broken_checkpoint_is_said_and_passed_over(data, tmp_path, damage):
    first = run(PLAIN, data, tmp_path)
    path = tmp_path / "cnn.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    progress = Notes()
    again = run(PLAIN, data, tmp_path, progress=progress)
    assert again.facts["resumed_from_epoch"] == 0
    assert bits(again) == bits(first)
    assert len(progress.notes) == 1
    assert str(path) in progress.notes[0]
    assert "broken checkpoint" in progress.notes[0]


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step_and_keeps_the_last_checkpoint(monkeypatch, data, tmp_path):
    whole = loop.Loop._set_rate

    def burst_in_epoch_2_step_4(self, done):
        rate = whole(self, done)
        if done >= (1 + 3 / 10) / 3:
            self.optimizer.param_groups[0]["lr"] = math.inf
        return rate

    monkeypatch.setattr(loop.Loop, "_set_rate", burst_in_epoch_2_step_4)
    # The step with the infinite rate is the fourth; the loss that shows it is the fifth
    with pytest.raises(
        TrainingError, match=r"not finite in epoch 2, step 5 \(the checkpoint of epoch 1 is kept\); try"
    ):
        run(PLAIN, data, tmp_path)
    monkeypatch.undo()
    assert run(PLAIN, data, tmp_path).facts["resumed_from_epoch"] == 1


def test_a_checkpoint_that_cannot_be_written_is_said(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"checkpoint cannot be written .* --out"):
        run(PLAIN, data, tmp_path / "file")


def test_a_checkpoint_is_written_where_it_costs_little_and_at_the_end(monkeypatch, tmp_path):
    clock = iter(range(6))  # each saving takes a second
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    written = []
    monkeypatch.setattr(checkpoint, "save", lambda path, state, *_: written.append(len(state.history)))
    keeper = checkpoint.Keeper(tmp_path / "c", epochs=5)
    record = EpochRecord(epoch=1, loss=1.0, validation_accuracy=None, seconds=1.0, learning_rate=1.0)
    for epoch, seconds in enumerate((10.0, 20.0, 30.0, 40.0, 41.0), 1):
        keeper.save(checkpoint.State(key="", history=(record,) * epoch, seconds=seconds), None, None)
    assert written == [1, 3, 5]


def test_restore_gives_the_weights_back(data, tmp_path):
    trained = run(PLAIN, data, tmp_path)
    save_file(trained.module.state_dict(), tmp_path / "w.safetensors")
    module = train.restore(CNN, tmp_path / "w.safetensors")
    assert not module.training
    assert train.evaluate(module, data.test, CNN)["accuracy"] == trained.metrics["test_accuracy"]


def test_weights_of_another_model_are_refused_by_the_name_that_differs(tmp_path):
    path, state = tmp_path / "w.safetensors", CNN.build().state_dict()
    save_file(state | {"fc2.weight": torch.zeros(3, 60)}, path)
    with pytest.raises(TrainingError, match=r"not the weights of cnn: fc2.weight is \(3, 60\) there and \(10, 60\) in"):
        train.restore(CNN, path)
    save_file({name: value for name, value in state.items() if name != "conv1.bias"}, path)
    with pytest.raises(TrainingError, match=r"conv1.bias is nothing there and \(20,\) in"):
        train.restore(CNN, path)
    save_file(state | {"extra": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match=r"extra is \(1,\) there and nothing in"):
        train.restore(CNN, path)


@pytest.mark.parametrize("write", [lambda p: p.write_bytes(b"no weights"), lambda p: None])
def test_weights_that_cannot_be_read_are_said(tmp_path, write):
    path = tmp_path / "w.safetensors"
    write(path)
    with pytest.raises(TrainingError, match=r"w.safetensors: cannot be read"):
        train.restore(CNN, path)


def test_accuracy_and_loss_of_a_module_that_always_says_three():
    class Three(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images):
            return torch.nn.functional.one_hot(torch.full((len(images),), 3), 10) * math.log(9.0)

    labels = np.array([3] * 1500 + [4] * 500)
    whole = Split(stored={"image": np.zeros((2000, 1, 28, 28), np.uint8)}, targets=labels)
    # Softmax of log 9 against nine zeros: one half for class 3, 1/18 for each other
    expected = 0.75 * math.log(2) + 0.25 * math.log(18)
    assert train.evaluate(Three(), whole, CNN) == pytest.approx({"accuracy": 0.75, "loss": expected})


def test_one_cycle_at_its_corners():
    assert loop.one_cycle(0.0, 0.2, 0.01) == pytest.approx(0.1)
    assert loop.one_cycle(0.1, 0.2, 0.01) == pytest.approx(0.55)
    assert loop.one_cycle(0.2, 0.2, 0.01) == pytest.approx(1.0)
    assert loop.one_cycle(0.6, 0.2, 0.01) == pytest.approx((1 + 0.01) / 2)
    assert loop.one_cycle(1.0, 0.2, 0.01) == pytest.approx(0.01)


NO_CHANGE = {"rotation_degrees": 0.0, "scale": 0.0, "shear": 0.0, "shift_pixels": 0.0}


def test_affine_without_amplitude_changes_nothing():
    images = torch.rand(5, 1, 28, 28)
    assert torch.allclose(affine(images, torch.Generator().manual_seed(0), NO_CHANGE), images, atol=1e-4)


@pytest.mark.parametrize(
    "amplitude",
    [{"shift_pixels": 3.0}, {"rotation_degrees": 40.0}, {"scale": 0.3}, {"shear": 0.4}],
    ids=lambda a: next(iter(a)),
)
def test_affine_moves_a_spot_to_where_its_matrix_says(amplitude):
    place = torch.arange(28) - 13.5  # pixels from the middle
    spot = torch.tensor([5.0, -3.0])  # right, down
    blob = torch.exp(-((place[None, :] - spot[0]) ** 2 + (place[:, None] - spot[1]) ** 2) / 4)
    options = NO_CHANGE | amplitude
    moved = affine(blob.expand(16, 1, 28, 28), torch.Generator().manual_seed(9), options)[:, 0]
    mass = moved.sum((1, 2))
    found = torch.stack([(moved.sum(1) @ place) / mass, (moved.sum(2) @ place) / mass], 1)  # (16, 2)
    draw = torch.rand(6, 16, generator=torch.Generator().manual_seed(9)) * 2 - 1
    for i, (turn, across, down, shear, right, low) in enumerate(draw.T.tolist()):
        angle = math.radians(turn * options["rotation_degrees"])
        stretch = torch.diag(torch.tensor([1 + across * options["scale"], 1 + down * options["scale"]]))
        turned = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ stretch
        turned[0, 1] += shear * options["shear"]
        shift = torch.tensor([right, low]) * options["shift_pixels"]
        # The matrix leads from the place in the answer to the place in the image
        expected = torch.linalg.solve(turned, spot - shift)
        assert found[i].tolist() == pytest.approx(expected.tolist(), abs=0.05)


def test_each_image_is_changed_by_its_own_draw():
    options = NO_CHANGE | {"shift_pixels": 2.0}
    image = torch.rand(1, 1, 28, 28)
    changed = affine(image.expand(4, 1, 28, 28), torch.Generator().manual_seed(1), options)
    assert len({changed[i].numpy().tobytes() for i in range(4)}) == 4


@pytest.mark.parametrize(("flags", "expected"), [(("avx2", "avx512_bf16"), "bfloat16"), (("avx2",), "float32")])
def test_bf16_is_used_only_where_the_processor_has_instructions_for_it(monkeypatch, data, tmp_path, flags, expected):
    known = loop.environment()
    monkeypatch.setattr(loop, "environment", lambda: dataclasses.replace(known, cpu_flags=flags))
    trained = run(dataclasses.replace(FAST, epochs=1), data, tmp_path)
    assert trained.facts["precision"] == expected


def test_recipe_sets_dropout(data):
    recipe = dataclasses.replace(FAST, options=FAST.options | {"dropout2d": 0.25, "dropout": 0.125})
    module = loop.Loop(SPEC, recipe, data, 0, "cpu").module
    assert (module.drop2.p, module.drop3.p) == (0.25, 0.125)


def test_small_data_sets_get_more_epochs_but_a_number_that_was_asked_for_stands(data):
    recipe = dataclasses.replace(FAST, options=FAST.options | {"least_steps": 75})
    spec = dataclasses.replace(SPEC, recipes=(recipe, PLAIN))
    # 160 images in batches of 16 are 10 steps: 75 steps need 8 epochs
    assert loop.Loop(spec, recipe, data, 0, "cpu").epochs == 8
    assert loop.Loop(spec, dataclasses.replace(recipe, epochs=2), data, 0, "cpu").epochs == 2
    assert loop.Loop(spec, PLAIN, data, 0, "cpu").epochs == 3


def test_an_unknown_optimiser_is_said(data):
    with pytest.raises(UsageError, match=r"names the optimiser 'lion'; known are adam, adamw, sgd"):
        loop.Loop(SPEC, dataclasses.replace(PLAIN, optimizer="lion"), data, 0, "cpu")


class NoCompiler:
    """What torch.compile gives on a machine without g++: it fails at the first call."""

    def __call__(self, images):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore lines")


def test_compile_asked_for_without_a_compiler_is_said(monkeypatch, data, tmp_path):
    monkeypatch.setattr(torch, "compile", lambda module, **_: NoCompiler())
    with pytest.raises(
        TrainingError, match=r"No working C\+\+ compiler found\); .*apt-get install g\+\+\), or use --compile off"
    ):
        run(PLAIN, data, tmp_path, compile_mode="on")


def test_compile_changes_neither_draws_nor_data(monkeypatch, data, tmp_path):
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    compiled = run(PLAIN, data, tmp_path / "compiled", compile_mode="on")
    plain = run(PLAIN, data, tmp_path / "plain", compile_mode="auto")
    assert (compiled.facts["compiled"], plain.facts["compiled"]) == (True, False)
    assert compiled.facts["compile_seconds"] > 0
    assert bits(compiled) == bits(plain)


def test_the_documents_loop_says_where_it_misses_mnist(tmp_path):
    with pytest.raises(DataError, match="MNIST is not there whole; `pipeline train cnn --dataset mnist` fetches it"):
        baseline.document_epoch_seconds(CNN, tmp_path)


def test_a_part_of_an_epoch_is_scaled_to_the_whole(monkeypatch, data):
    clock = iter(range(100))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(clock)))
    # The clock moves a second a reading and an epoch reads it twice around its steps: 2 of 10 steps took a second
    assert baseline.fast_epoch_seconds(SPEC, data, 2) == 5.0
