"""Data that are whole or not used at all."""

import gzip
import hashlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from export.bundle.errors import DataError, UnknownName
from export.progress import Silent
from pipeline.datasets import digits, mnist
from pipeline.datasets._base import data_root, resolve
from pipeline.datasets._download import Unreachable, download
from pipeline.datasets.mnist import Mnist

TRAIN, TEST = 12, 4


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def idx(array):
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + shape + array.tobytes(), mtime=0)


@pytest.fixture(scope="module")
def archives():
    """Four archives as MNIST's, of 12 and 4 images; image i is filled with i, its class is i modulo 10."""
    made = {}
    for part, size in (("train", TRAIN), ("t10k", TEST)):
        values = np.arange(size, dtype=np.uint8)
        made[f"{part}-images-idx3-ubyte.gz"] = idx(np.broadcast_to(values[:, None, None], (size, 28, 28)))
        made[f"{part}-labels-idx1-ubyte.gz"] = idx(values % 10)
    return made


@pytest.fixture
def mirror(archives):
    """A mirror on loopback: `/good/` is whole, `/partial/` breaks off, `/wrong/` sends zeros, `/silent/` hangs."""
    asked = []
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            _, kind, name = self.path.split("/")
            if kind == "absent":
                self.send_error(404)
                return
            data = archives[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if kind == "silent":
                done.wait(10)
                return
            self.wfile.write({"good": data, "partial": data[:-5], "wrong": bytes(len(data))}[kind])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    server.asked = asked
    server.url = lambda kind: f"http://127.0.0.1:{server.server_port}/{kind}/"
    yield server
    done.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def nobody():
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


@pytest.fixture
def small(archives):
    """A data set of the four small archives, from the mirrors given."""
    md5 = {name: hashlib.md5(archives[name]).hexdigest() for name in mnist.MD5}
    return lambda *mirrors: Mnist(mirrors, md5, held_out=3)


def test_mirrors_and_sums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets")
    assert sorted(mnist.MIRRORS) == sorted(datasets.MNIST.mirrors)
    assert list(mnist.MD5.items()) == datasets.MNIST.resources


def test_a_download_lies_where_torchvision_looks_and_is_not_repeated(mirror, small, archives, tmp_path):
    source = small(mirror.url("good"))
    assert source.fingerprint(tmp_path) is None
    assert source.fetch(tmp_path, Silent()) is None
    for name, data in archives.items():
        assert (tmp_path / "mnist" / "MNIST" / "raw" / name).read_bytes() == data
    assert source.fetch(tmp_path, Silent()) is None
    assert len(mirror.asked) == 4


def test_loaded_splits_are_the_files_with_the_held_out_images_apart(mirror, small, tmp_path):
    source = small(mirror.url("good"))
    data = source.load(tmp_path, Silent())
    assert (data.facts.train, data.facts.validation, data.facts.test) == (TRAIN - 3, 3, TEST)
    assert data.test.stored["image"].shape == (TEST, 1, 28, 28)
    assert data.test.targets.tolist() == [0, 1, 2, 3]
    ids = [split.stored["image"][:, 0, 0, 0].tolist() for split in (data.train, data.validation)]
    assert sorted(ids[0] + ids[1]) == list(range(TRAIN))
    assert [i % 10 for i in ids[0]] == data.train.targets.tolist()
    assert (data.train.stored["image"] == data.train.stored["image"][:, :, :1, :1]).all()
    assert source.load(tmp_path, Silent()).validation.targets.tolist() == data.validation.targets.tolist()


def test_digest_is_of_the_arrays_and_is_known_without_loading(mirror, small, tmp_path):
    source = small(mirror.url("good"))
    images = [np.repeat(np.arange(n, dtype=np.uint8), 784) for n in (TRAIN, TEST)]
    labels = [(np.arange(n) % 10).astype("<i8") for n in (TRAIN, TEST)]
    parts = (images[0], labels[0], images[1], labels[1])
    expected = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    assert source.load(tmp_path, Silent()).facts.digest == expected == source.fingerprint(tmp_path)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:50] + b"\0" + d[51:], lambda d: b""])
def test_a_damaged_file_is_said_and_fetched_again(mirror, small, archives, tmp_path, damage):
    source, progress = small(mirror.url("good")), Notes()
    source.fetch(tmp_path, Silent())
    name = "train-images-idx3-ubyte.gz"
    path = source.folder(tmp_path) / name
    path.write_bytes(damage(archives[name]))
    assert source.fingerprint(tmp_path) is None
    source.load(tmp_path, progress)
    assert path.read_bytes() == archives[name]
    assert mirror.asked[4:] == [f"/good/{name}"]
    assert len(progress.notes) == 1
    assert "broken or partial" in progress.notes[0]
    assert str(path) in progress.notes[0]


@pytest.mark.parametrize("kind", ["partial", "wrong", "absent"])
def test_the_next_mirror_is_asked_where_one_is_bad(mirror, small, tmp_path, kind):
    source = small(mirror.url(kind), mirror.url("good"))
    assert source.fetch(tmp_path, Silent()) is None
    assert source.fingerprint(tmp_path) is not None


def test_what_every_mirror_sends_wrongly_is_never_kept(mirror, small, tmp_path):
    source = small(mirror.url("wrong"), mirror.url("partial"))
    reason = source.fetch(tmp_path, Silent())
    assert "train-images-idx3-ubyte.gz cannot be downloaded" in reason
    assert "md5 sum is not" in reason
    assert len(mirror.asked) == 4  # two mirrors, twice each
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_silent_mirror_is_given_up(mirror, archives, tmp_path):
    name = "t10k-labels-idx1-ubyte.gz"
    md5 = hashlib.md5(archives[name]).hexdigest()
    urls = [mirror.url("silent") + name, mirror.url("good") + name]
    started = time.monotonic()
    download(urls, tmp_path / name, md5=md5, progress=Silent(), silence_s=0.2)
    assert time.monotonic() - started < 5
    assert (tmp_path / name).read_bytes() == archives[name]


def test_a_mirror_that_trickles_is_given_up_after_the_limit(mirror, tmp_path):
    name = "t10k-labels-idx1-ubyte.gz"
    with pytest.raises(Unreachable, match="too slow"):
        download([mirror.url("good") + name], tmp_path / name, md5="", progress=Silent(), limit_s=0)


def test_a_folder_that_cannot_be_written_is_the_users_to_change(mirror, small, tmp_path):
    (tmp_path / "mnist").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot be written .* --data-dir"):
        small(mirror.url("good")).fetch(tmp_path, Silent())


def test_without_a_network_the_default_falls_back_and_says_so_in_one_line(monkeypatch, nobody, tmp_path):
    monkeypatch.setattr(mnist.ENTRIES[0], "_mirrors", (nobody, nobody))
    progress = Notes()
    dataset, note = resolve(None, "mnist", tmp_path, progress)
    assert dataset.name == "digits"
    (said,) = progress.notes
    assert said.startswith("digits stand in for mnist: ")
    assert "refused" in said
    assert "\n" not in said
    assert note.startswith("digits stand in for mnist")
    assert str(tmp_path) not in note


def test_a_data_set_asked_for_by_name_is_never_replaced(monkeypatch, nobody, tmp_path):
    monkeypatch.setattr(mnist.ENTRIES[0], "_mirrors", (nobody,))
    with pytest.raises(DataError, match=r"no whole copy of mnist.* --data-dir.* --dataset"):
        resolve("mnist", "mnist", tmp_path, Silent())
    with pytest.raises(DataError, match="no whole copy of mnist"):
        mnist.ENTRIES[0].load(tmp_path, Silent())


def test_names_are_resolved_without_a_network_where_none_is_needed(tmp_path):
    dataset, note = resolve("digits", "mnist", tmp_path, Silent())
    assert (dataset.name, note) == ("digits", "")
    with pytest.raises(UnknownName, match="did you mean 'mnist'"):
        resolve("mnits", "mnist", tmp_path, Silent())


def test_root_is_the_option_then_the_variable_then_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PIPELINE_DATA", str(tmp_path / "variable"))
    assert data_root(tmp_path / "option") == tmp_path / "option"
    assert data_root(None) == tmp_path / "variable"
    monkeypatch.delenv("PIPELINE_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root(None).parts[-2:] == ("pipeline", "data")


def test_digits_are_split_as_the_document_splits_them(tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split

    bunch = datasets.load_digits()
    _, test, rest_labels, test_labels = train_test_split(
        bunch.images, bunch.target, test_size=0.2, shuffle=True, random_state=1234
    )
    data = digits.ENTRIES[0].load(tmp_path, Silent())
    assert (data.facts.train, data.facts.validation, data.facts.test) == (1300, 137, 360)
    assert data.test.targets.tolist() == test_labels.tolist()
    assert np.concatenate([data.validation.targets, data.train.targets]).tolist() == rest_labels.tolist()
    assert (data.test.stored["image"][7, 0] == digits.in_frame(test[7].astype(np.float32))).all()
    assert data.facts.digest == digits.ENTRIES[0].fingerprint(tmp_path)


def test_a_dot_fills_the_box_in_the_middle_of_the_frame():
    image = np.zeros((8, 8), np.float32)
    image[1, 6] = 16
    expected = np.zeros((28, 28), np.uint8)
    expected[4:24, 4:24] = 255
    assert (digits.in_frame(image) == expected).all()


def test_a_bar_keeps_its_shape_and_a_slope_is_interpolated():
    image = np.zeros((8, 8), np.float32)
    image[2:6, 3] = 8  # 4 by 1 → 20 by 5
    frame = digits.in_frame(image)
    assert (frame > 0).sum() == 20 * 5
    assert (frame[4:24].max(1) == 128).all()  # 8 / 16 · 255 = 127.5, rounded to even
    image[2:6, 3] = [16, 8, 8, 8]
    # Centres of the 20 rows lie at (i + ½)/5 − ½ of the 4: row 4 at 0.4 → 0.6 · 16 + 0.4 · 8 = 12.8 → 204
    column = digits.in_frame(image)[:, 14]
    assert column[column > 0][[0, 4, 19]].tolist() == [255, 204, 128]


def test_centre_of_mass_lies_in_the_middle(tmp_path):
    frames = digits.ENTRIES[0].load(tmp_path, Silent()).test.stored["image"][:, 0].astype(float)
    rows = (frames.sum(2) @ (np.arange(28) + 0.5)) / frames.sum((1, 2))
    columns = (frames.sum(1) @ (np.arange(28) + 0.5)) / frames.sum((1, 2))
    # Half a pixel of rounding, and what rounding to whole grey values moves
    assert np.abs(rows - 14).max() < 0.52
    assert np.abs(columns - 14).max() < 0.52
