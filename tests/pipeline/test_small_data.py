"""The 8×8 digits, gp.csv and its stand-in, and the data that the documents make themselves."""

import hashlib

import numpy as np
import pytest

from export.bundle.errors import DataError
from export.progress import Silent
from export.registry import entry
from pipeline.datasets import gp
from pipeline.datasets._base import data_root, resolve


def load(name, root, seed=0):
    found = entry("pipeline.datasets", "data set", name)
    found = found.drawn(seed) if hasattr(found, "drawn") else found
    data = found.load(root, Silent())
    assert data.facts.digest == found.fingerprint(root)
    assert (data.facts.train, data.facts.validation, data.facts.test) == tuple(
        len(part) for part in (data.train, data.validation, data.test)
    )
    return data


def test_digits_are_scikit_learns_in_the_documents_split(tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split

    bunch = datasets.load_digits()
    rest, test, rest_labels, test_labels = train_test_split(
        bunch.images, bunch.target, test_size=0.2, shuffle=True, random_state=1234
    )
    data = load("digits-8x8", tmp_path)
    assert (data.facts.train + data.facts.validation, data.facts.test) == (1437, 360)
    whole = data.validation.joined(data.train)
    for split, images, labels in ((data.test, test, test_labels), (whole, rest, rest_labels)):
        assert split.stored["image"].dtype == np.uint8
        assert (split.stored["image"][:, 0] == images).all()
        assert (split.targets == labels).all()


def test_the_systems_rows_are_the_documents(tmp_path):
    data = load("linear-system", tmp_path)
    assert data.train.stored["row"].tolist() == [[0, 1], [1, 0]]
    assert data.train.targets.tolist() == [[1], [1]]
    assert load("unit-sum", tmp_path).train.stored["x"].tolist() == [[1] * 5]


def test_the_sine_is_drawn_anew_by_seed_and_judged_on_the_points_it_is_fitted_to(tmp_path):
    data, other = load("sine", tmp_path), load("sine", tmp_path, seed=1)
    x = data.train.stored["x"]
    assert x.shape == (1000, 1)
    assert 0 <= x.min() < 0.1
    assert 2 * np.pi - 0.1 < x.max() <= np.float32(2 * np.pi)
    assert data.train.targets == pytest.approx(np.sin(x), abs=1e-6)
    assert data.test is data.train
    assert "same points" in data.facts.note
    assert other.facts.digest != data.facts.digest == load("sine", tmp_path).facts.digest


def test_gp_is_the_lectures_file(tmp_path):
    if entry("pipeline.datasets", "data set", "gp").fingerprint(data_root(None)) is None:
        pytest.skip("gp.csv is not at hand")
    data = load("gp", data_root(None))
    assert len(data.train) == 250
    assert data.train.stored["x"][0, 0] == np.float32(0.0021894308231216186)
    assert data.train.targets[0, 0] == np.float32(1.0707719873861627)


def test_without_gp_a_stand_in_of_its_size_and_range_says_what_it_is(tmp_path):
    class Notes(Silent):
        said = ""

        def note(self, text):
            self.said = text

    notes = Notes()
    dataset, note = resolve(None, "gp", tmp_path, notes)
    data = dataset.load(tmp_path, Silent())
    x, y = data.train.stored["x"], data.train.targets
    assert len(data.train) == 250
    assert (x.min() > 0.002, x.max() < 0.995) == (True, True)
    assert (float(y.min()), float(y.max())) == (pytest.approx(-0.751), pytest.approx(2.583))
    assert "not the lecture's gp.csv" in data.facts.note
    assert notes.said.startswith("gp-draws stand in for gp: no whole copy in ")
    assert note.startswith("gp-draws stand in for gp")
    with pytest.raises(DataError, match="no whole copy of gp, and no public address of it is known; put one there"):
        resolve("gp", "gp", tmp_path, Silent())


@pytest.mark.parametrize("content", [b"x,y\n0.5,0.25\n", b"", b"\xff\xfe"])
def test_a_gp_file_that_is_not_the_lectures_is_refused(tmp_path, content):
    path = tmp_path / "gp" / "gp.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"gp.csv: is not the lecture's file .* put a whole copy there, or remove it"):
        resolve(None, "gp", tmp_path, Silent())
    assert entry("pipeline.datasets", "data set", "gp").fingerprint(tmp_path) is None
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"gp.csv: cannot be read"):
        resolve(None, "gp", tmp_path, Silent())


def test_the_stand_in_has_the_same_points_everywhere():
    text = "\n".join(f"{x:.6f},{y:.6f}" for x, y in gp.drawn_points())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "aecc069df14bff55"
