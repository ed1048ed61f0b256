"""Names: what is held out, and the recurrent network in its forms."""

import dataclasses
import io
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from export.bundle.errors import DataError, UsageError
from export.bundle.types import DatasetFacts, TrainedModel
from export.progress import Silent
from export.registry import entry
from pipeline.datasets import names
from pipeline.datasets._base import Redrawn
from pipeline.datasets.names import HELD_OUT, LANGUAGES, LETTERS, ascii_from_unicode, letters_from_names
from pipeline.variants import with_params


def text(language: int) -> str:
    """30 names of its own for each language, one that all have, and one that stands twice."""
    own = [LETTERS[language] + LETTERS[i] + "ab"[i % 2] * (i % 5) for i in range(30)]
    return "\n".join([*own, "Everywhere", own[0]]) + "\n"


Names = partial(names.Names, counts=dict.fromkeys(LANGUAGES, 31))
"""The data set, of which 31 names in each language are a whole copy."""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "names").mkdir()
    for i, language in enumerate(LANGUAGES):
        (tmp_path / "names" / f"{language}.txt").write_text(text(i))
    return tmp_path


def words(split):
    rows = zip(split.stored["letters"], split.stored["lengths"], strict=True)
    return ["".join(LETTERS[i] for i in row[:length]) for row, length in rows]


def test_letters_lose_their_marks_and_what_is_no_letter_is_dropped():
    assert len(LETTERS) == 57
    assert ascii_from_unicode("Ślusàrski") == "Slusarski"
    assert ascii_from_unicode("O'Néàl, Jr.") == "O'Neal, Jr."
    assert ascii_from_unicode("Abdank-Kossovsky/ß3") == "AbdankKossovsky"


def test_names_are_numbers_with_zeros_behind_them():
    found = letters_from_names(["abA", "z"], 4)
    assert found["letters"].tolist() == [[0, 1, 26, 0], [25, 0, 0, 0]]
    assert (found["lengths"].tolist(), found["lengths"].dtype) == ([3, 1], np.int64)


def test_no_name_is_in_two_sets_and_each_stands_once_in_a_language(root):
    data = Names().load(root, Silent())
    sets = [set(words(split)) for split in (data.train, data.validation, data.test)]
    assert len(set.union(*sets)) == sum(map(len, sets))
    assert (len(data.validation), len(data.test)) == (HELD_OUT, HELD_OUT) == (len(sets[1]), len(sets[2]))
    pairs = [*zip(words(data.train), data.train.targets.tolist(), strict=True)]
    assert len(pairs) == len(set(pairs))
    everywhere = pairs.count(("Everywhere", 0))
    held_out = "Everywhere" in sets[1] | sets[2]
    # 18 languages of 31 names each; 200 are held out, and the one that all have takes 17 others along.
    assert len(pairs) == 18 * 31 - 200 - 17 * held_out
    assert everywhere == (not held_out)
    assert data.train.joined(data.validation).stored["letters"].shape[0] == len(pairs) + HELD_OUT


def test_a_draw_is_the_same_each_time_and_another_is_not(root):
    first, again, other = (Names().drawn(seed).load(root, Silent()) for seed in (3, 3, 4))
    assert words(first.test) == words(again.test) != words(other.test)
    assert first.facts.digest == again.facts.digest == Names(3).fingerprint(root) != other.facts.digest
    assert isinstance(Names(), Redrawn)
    assert not isinstance(entry("pipeline.datasets", "dataset", "mnist"), Redrawn)


def test_languages_are_drawn_uniformly_however_many_names_they_have(root):
    many = [a + b + c for a in "ABCDE" for b in LETTERS[:26] for c in LETTERS[:26]]
    (root / "names/Russian.txt").write_text("\n".join(many))
    counts = np.bincount([t for seed in range(30) for t in Names(seed).load(root, Silent()).test.targets], minlength=18)
    # 3,000 draws: 167 of each, give or take four times √(3000 · 1/18 · 17/18) = 12.5; those of 30 names run out a bit.
    assert abs(counts[LANGUAGES.index("Russian")] - 3000 / 18) < 60


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:20], "cut off"),
        (lambda data: b"", "cut off"),
        (lambda data: data + b"\xff\xfe\n", "no UTF-8"),
        (lambda data: data + b"a\0b\n", "is no name"),
        (lambda data: data + b"a" * 65 + b"\n", "is no name"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(root, damage, said):
    path = root / "names" / "Greek.txt"
    path.write_bytes(damage(path.read_bytes()))
    assert Names().fingerprint(root) is None
    with pytest.raises(DataError, match=rf"Greek\.txt: is damaged.*{said}.*delete it") as caught:
        Names().load(root, Silent())
    assert "\n" not in str(caught.value)


def test_a_copy_must_hold_every_name_of_the_tutorials_files(root):
    with pytest.raises(DataError, match=r"Arabic\.txt: is damaged or cut off \(it holds 31 of 108 names\)"):
        names.Names().load(root, Silent())


def archive(missing=""):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for i, language in enumerate(LANGUAGES):
            if language != missing:
                written.writestr(f"data/names/{language}.txt", text(i))
    return stream.getvalue()


@pytest.fixture
def serve():
    servers = []

    def start(body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/data.zip"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_what_is_not_there_is_downloaded_and_a_copy_stays(serve, root, tmp_path):
    own = root / "names" / "Greek.txt"
    kept = own.read_text() + "Mine\n"
    own.write_text(kept)
    (root / "names" / "Irish.txt").unlink()
    source = Names(mirrors=(serve(archive()),))
    assert source.fetch(root, Silent()) is None
    assert (root / "names" / "Irish.txt").read_text() == text(LANGUAGES.index("Irish"))
    assert own.read_text() == kept
    assert sorted(p.name for p in (root / "names").iterdir()) == sorted(f"{n}.txt" for n in LANGUAGES)


@pytest.mark.parametrize(("body", "said"), [(archive("Greek"), "without Greek.txt"), (archive()[:-99], "no whole")])
def test_an_archive_that_is_not_whole_is_not_kept(serve, tmp_path, body, said):
    reason = Names(mirrors=(serve(body),)).fetch(tmp_path, Silent())
    assert said in reason
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def spec_of(model="names-rnn", hidden=8):
    return with_params(entry("pipeline.models", "model", model), {"hidden": hidden})


CELLS = {
    "names-rnn": lambda m, x: m.read.linear.weight[x],
    "names-rnn-relu": lambda m, x: (m.read.linear.weight[x] + m.read.linear.bias).relu(),
    "names-rnn-relu2": lambda m, x: m.read.linear2((m.read.linear.weight[x] + m.read.linear.bias).relu()).relu(),
}


@pytest.mark.parametrize("model", CELLS)
def test_each_cell_is_the_documents(model):
    import torch

    module = spec_of(model).build().double().eval()
    name = torch.tensor([5, 30, 56, 0])
    hidden = torch.zeros(8, dtype=torch.float64)
    for letter in name[:-1]:
        hidden = CELLS[model](module, letter) + module.hidden.weight @ hidden + module.hidden.bias
    scores = module.answer_letter.weight[name[-1]] + module.answer_hidden.weight @ hidden + module.answer_hidden.bias
    answer = module(name[None], torch.tensor([4]))[0]
    assert torch.allclose(answer, scores.log_softmax(0), rtol=0, atol=1e-14)


def test_without_relu_the_layers_are_linear_over_letter_and_state_together():
    import torch

    torch.manual_seed(0)
    module = spec_of(hidden=64).build().requires_grad_(False)
    joint = torch.cat([module.read.linear.weight.T, module.hidden.weight], 1)
    assert joint.shape == (64, 57 + 64)
    # nn.Linear draws from ±1/√(57 + 64) = ±1/11; of 7,744 draws some come within 1 % of the ends.
    assert 0.99 / 11 < float(joint.abs().max()) <= 1 / 11
    assert float(module.answer_letter.weight.abs().max()) <= 1 / 11
    relu = spec_of("names-rnn-relu", 64).build()
    assert 1 / 11 < float(relu.read.linear.weight.abs().max()) <= 57**-0.5
    assert float(relu.hidden.weight.abs().max()) <= 1 / 8


@pytest.mark.parametrize("model", CELLS)
def test_padding_never_changes_an_answer_and_scan_is_the_loop(model):
    import torch

    torch.manual_seed(1)
    spec = spec_of(model)
    module = spec.build().double().eval()
    graph = spec.graph(module)
    assert list(graph.state_dict()) == list(module.state_dict())
    lengths = torch.arange(1, 65)
    letters = torch.randint(0, 57, (64, 64))
    with torch.inference_mode():
        padded = module(letters, lengths)
        assert torch.equal(graph(letters, lengths), padded)
        assert torch.equal(module(torch.where(torch.arange(64) < lengths[:, None], letters, 0), lengths), padded)
        for n in (1, 2, 13, 64):
            alone = module(letters[n - 1 : n, :n], torch.tensor([n]))
            assert torch.allclose(alone, padded[n - 1 : n], rtol=0, atol=1e-14)
            assert torch.allclose(graph(letters[n - 1 : n, :n], torch.tensor([n])), alone, rtol=0, atol=1e-14)


def test_the_step_fed_letter_by_letter_is_the_whole():
    import torch

    spec = spec_of()
    module = spec.build().double().eval()
    cell = spec.step(module).module
    name, hidden = torch.tensor([[7, 8, 9, 55, 3]]), torch.zeros(1, 8, dtype=torch.float64)
    for n in range(1, 6):
        answer, hidden = cell(name[:, n - 1], hidden)
        assert torch.allclose(answer, module(name[:, :n], torch.tensor([n])), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("params", "said"), [({"hidden": 0}, "hidden=0"), ({"width": 5}, "no parameter 'width'")])
def test_a_value_that_makes_no_network_is_refused(params, said):
    with pytest.raises(UsageError, match=said):
        with_params(entry("pipeline.models", "model", "names-rnn"), params)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every form but the engines of an untrained network of 8 hidden numbers, with the sources it was made from."""
    import torch

    from export.formats._base import Source
    from export.run import applies, order, path_of, write_one

    torch.manual_seed(2)
    spec, folder = spec_of(), tmp_path_factory.mktemp("names")
    facts = DatasetFacts(name="names", digest="0", train=0, validation=0, test=4)
    trained = TrainedModel(
        spec=spec, module=spec.build().eval(), recipe=None, metrics={}, seconds=0.0, seed=0, dataset=facts
    )
    rng = np.random.default_rng(0)
    example = {"letters": rng.integers(0, 57, (4, 6)), "lengths": np.array([6, 1, 3, 2])}
    source = Source(trained=trained, example=example, files={})
    for name in [n for n in order() if applies(n, spec) and "tensorrt" not in n and n != "aotinductor"]:
        path = folder / path_of(name, source.options)
        artifact = write_one(name, source, path)
        source = dataclasses.replace(source, files={**source.files, name: (path, artifact)})
    return source


def test_every_form_takes_any_length_and_any_batch(exported):
    import onnxruntime
    import torch

    module, files = exported.trained.module, {n: path for n, (path, _) in exported.files.items()}
    run = {
        "onnx": onnxruntime.InferenceSession(files["onnx"]).run,
        "onnx-fp16": onnxruntime.InferenceSession(files["onnx-fp16"]).run,
    }
    script = torch.jit.load(files["torchscript"])
    program = torch.export.load(files["exported_program"]).module()
    for batch, length in ((1, 1), (1, 9), (5, 1), (3, 64), (2, 80)):
        letters, lengths = torch.randint(0, 57, (batch, length)), torch.randint(1, length + 1, (batch,))
        with torch.inference_mode():
            truth = module(letters, lengths)
            assert torch.allclose(script(letters, lengths), truth, rtol=0, atol=1e-6)
            assert torch.allclose(program(letters, lengths), truth, rtol=0, atol=1e-6)
        feeds = {"letters": letters.numpy(), "lengths": lengths.numpy()}
        for name, most in (("onnx", 1e-6), ("onnx-fp16", 5e-3)):
            (answer,) = run[name](None, feeds)
            assert np.abs(answer - truth.numpy()).max() < most


def test_forms_say_how_they_were_made(exported):
    facts = {name: artifact.facts for name, (_, artifact) in exported.files.items()}
    assert facts["exported_program"]["check"]["equal"] is True
    assert facts["torchscript"]["made_by"] == "script"
    assert "length 64" in facts["torchscript"]["check"]["sizes"]
    assert "Scan" in facts["onnx"]["operators"]
    assert (facts["onnx"]["opset"], facts["onnx"]["ir_version"]) == (17, 8)
    step = exported.files["onnx-step"][1]
    assert [s.name for s in step.inputs] == ["letter", "hidden"]
    assert step.inputs[0].symbols == LETTERS


@pytest.mark.parametrize("form", ["exported_program", "torchscript", "onnx"])
def test_weights_inside_the_loop_are_compared_to_the_bit(exported, form):
    from serve_bench.equivalence.constants import compare, why

    files = {n: path for n, (path, _) in exported.files.items()}
    found = compare(files["weights"], files[form], form, "float32", files["exported_program"])
    assert set(found["compared"]) == set(exported.trained.module.state_dict())
    assert why(found) == ""


def test_a_step_that_is_another_cell_is_refused(exported, tmp_path):
    from export.bundle.errors import ExportError
    from export.formats.onnx_step import ENTRIES

    spec = exported.trained.spec
    wrong = dataclasses.replace(spec, step=lambda module: spec.step(partial(spec.build)()))
    trained = dataclasses.replace(exported.trained, spec=wrong)
    with pytest.raises(ExportError, match="the step is not the cell of this network"):
        ENTRIES[0].write(dataclasses.replace(exported, trained=trained), tmp_path / "step.onnx")


def test_the_step_is_for_recurrent_networks_alone():
    from export.run import applies

    assert applies("onnx-step", spec_of())
    assert not applies("onnx-step", entry("pipeline.models", "model", "cnn"))
    assert applies("onnx", entry("pipeline.models", "model", "cnn"))


def test_an_engine_admits_the_documented_lengths(exported):
    from export.formats.tensorrt import profile_of

    assert profile_of(exported) == {
        "letters": {"min": [1, 1], "opt": [64, 6], "max": [512, 64]},
        "lengths": {"min": [1], "opt": [64], "max": [512]},
    }


def test_a_recipe_may_begin_with_a_memory():
    module = spec_of().build()
    before = module.hidden.weight.detach().clone()
    module.begin({})
    assert (module.hidden.weight == before).all()
    module.begin({"memory": 0.5})
    assert module.hidden.weight.tolist() == (0.5 * np.eye(8)).tolist()
    assert module.hidden.bias.tolist() == [0.0] * 8


def test_classes_are_drawn_by_the_power_of_their_size_and_the_loss_knows():
    import torch

    from pipeline.batches import Population, by_class, class_shares
    from pipeline.objectives import uniform_cross_entropy

    recipe = dataclasses.replace(
        spec_of().recipes[0], batch_size=1000, steps_per_epoch=20, options={"class_power": 0.5}
    )
    targets = torch.tensor([0] * 64 + [2] * 16 + [3] * 4)
    shares = class_shares(targets, recipe)
    # √64 : √0 : √16 : √4 = 8 : 0 : 4 : 2
    assert torch.allclose(shares, torch.tensor([8, 0, 4, 2]).double() / 14)
    drawn = torch.cat([*by_class(Population(targets=targets), recipe, torch.Generator().manual_seed(0))])
    counts = targets[drawn].bincount(minlength=4)
    # 20,000 draws; four times √(20000 · 0.25) = 71 is 283.
    assert (counts - 20000 * shares).abs().max() < 283
    assert counts[1] == 0
    # Equal answers mean the shares themselves: −log(4/14).
    loss = uniform_cross_entropy(torch.zeros(1, 4), torch.tensor([2]), "logits", shares.log().float())
    assert float(loss) == pytest.approx(np.log(14 / 4), rel=1e-6)


def test_a_recipe_may_bound_what_the_state_grows_by():
    import torch

    module = spec_of().build()
    with torch.no_grad():
        module.hidden.weight.copy_(torch.diag(torch.arange(8) / 2))
    module.settle({})
    assert module.hidden.weight.diagonal().tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    module.settle({"largest_gain": 1.0})
    assert module.hidden.weight.diagonal().tolist() == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, 1], abs=1e-6)
