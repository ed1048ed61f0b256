"""The bookkeeping of recorded graphs, with torch's CUDA objects replaced: nothing here says anything of a GPU."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_network import INPUTS

from serve_bench.backends import cudagraph
from serve_bench.cells import backend_named

torch = pytest.importorskip("torch")


@pytest.fixture
def recording(monkeypatch):
    """Replays what was recorded by calling it again; counts recordings."""
    graphs = []

    class Graph:
        def __init__(self):
            graphs.append(self)
            self.replays = 0

        def replay(self):
            self.replays += 1

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda one: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: nullcontext())
    return graphs


def test_a_graph_is_recorded_once_a_shape_in_buffers_that_stay(tiny, recording):
    calls = []

    def module(image):
        calls.append(image)
        return image.flatten(1).sum(1, keepdim=True)

    artifact = tiny.artifacts["exported_program"]
    session = cudagraph.GraphSession("eager-cudagraph", module, artifact, "cpu")
    name = INPUTS[0].name
    for batch in (2, 5, 2, 2, 5):
        session.bind({name: tiny.images[:batch]})
        session.run()
    assert len(recording) == 2
    assert [graph.replays for graph in recording] == [3, 2]
    assert len(calls) == 2 * (cudagraph.WARM_UP + 1)
    assert len({image.data_ptr() for image in calls}) == 2
    session.bind({name: tiny.images[3:5]})
    assert np.array_equal(calls[0].numpy(), tiny.images[3:5]), "new samples go where the graph reads"


def test_without_a_gpu_it_says_so():
    backend = backend_named("eager-cudagraph")
    assert "cuda" in backend.missing("cpu")
    assert backend.boundaries("cuda") == ("host", "device", "compute")


@pytest.mark.gpu
def test_it_answers_as_eager_does(tiny):
    reason = backend_named("eager-cudagraph").missing("cuda")
    if reason:
        pytest.skip(reason)
    artifact, answers = tiny.artifacts["exported_program"], []
    for name in ("eager", "eager-cudagraph"):
        session = backend_named(name).open(artifact, "cuda", 1)
        for batch in (2, 5, 2):
            session.bind({INPUTS[0].name: tiny.images[:batch]})
            session.run()
            session.sync()
        answers.append({n: np.array(a) for n, a in session.outputs().items()})
        session.close()
    for name, answer in answers[0].items():
        assert np.array_equal(answer, answers[1][name])
