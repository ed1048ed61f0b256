"""Scalars in the graph of a `.pt2`: held against the model's, casts left out, subgraphs included."""

import json
import zipfile

import pytest

from export.bundle.errors import BundleCorrupt
from serve_bench.equivalence import constants, scalars

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    import networks

    return networks.program(networks.Folding(), torch.ones(2, 1, 6, 6), tmp_path_factory.mktemp("p") / "model.pt2")


def changed(path, destination, edit):
    """A copy whose graph `edit` has changed."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(destination, "w") as copy:
        for info in archive.infolist():
            data = archive.read(info)
            if info.filename.endswith("models/model.json"):
                document = json.loads(data)
                edit(document["graph_module"]["graph"]["nodes"])
                data = json.dumps(document).encode()
            copy.writestr(info.filename, data)
    return destination


def epsilon(nodes):
    (norm,) = [n for n in nodes if "batch_norm" in n["target"]]
    (eps,) = [i for i in norm["inputs"] if i["name"] == "eps"]
    eps["arg"]["as_float"] = 0.1


def test_a_wrong_epsilon_is_named_with_both_values(program, tmp_path):
    assert scalars.differences(program, program) == []
    copy = changed(program, tmp_path / "copy.pt2", epsilon)
    (said,) = scalars.differences(program, copy)
    assert "batch_norm" in said
    assert said.endswith("is 0.1, where the model's is 0.001")


def test_it_is_part_of_what_constants_say(program, tmp_path):
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in torch.export.load(program).state_dict.items()}, tmp_path / "w.safetensors")
    copy = changed(program, tmp_path / "copy.pt2", epsilon)
    for path, wrong in ((program, 0), (copy, 1)):
        found = constants.compare(tmp_path / "w.safetensors", path, "exported_program", "float32", program)
        assert len(found["mismatched"]) == wrong


def test_other_operators_are_left_to_the_numbers(program, tmp_path):
    def other(nodes):
        epsilon(nodes)
        nodes.pop()

    assert scalars.differences(program, changed(program, tmp_path / "copy.pt2", other)) == []


def test_a_typed_copy_differs_by_casts_alone(program, tmp_path):
    import networks

    class Typed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = networks.Folding().bfloat16()

        def forward(self, image):
            return self.inner(image.to(torch.bfloat16)).float()

    typed = networks.program(Typed(), torch.ones(2, 1, 6, 6), tmp_path / "typed.pt2")
    assert [kind for kind, _, _ in scalars.nodes(typed)] == [kind for kind, _, _ in scalars.nodes(program)]
    assert scalars.differences(program, typed) == []
    assert len(scalars.differences(program, changed(typed, tmp_path / "copy.pt2", epsilon))) == 1


def test_a_graph_that_cannot_be_read_is_one_line(program, tmp_path):
    def broken(nodes):
        del nodes[0]["inputs"]

    copy = changed(program, tmp_path / "copy.pt2", broken)
    with pytest.raises(BundleCorrupt, match="its graph cannot be read; export it again"):
        constants._scalars(program, copy)
