"""Constants as files hold them, read without executing anything and without torch.

`.pt2` and TorchScript are zip files whose tensors lie there as raw little-endian bytes. What TorchScript says about
them (type, shape, strides) stands in a pickle; it is read by an unpickler that knows no class but inert ones.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BundleCorrupt
from serve_bench.equivalence._torchscript_pickle import tensors_in

Array = npt.NDArray[np.generic]
SCALAR_TYPES = {1: "u1", 2: "i1", 3: "i2", 4: "i4", 5: "i8", 6: "f2", 7: "f4", 8: "f8", 12: "?", 13: "bf16"}
"""torch._export.serde.schema.ScalarType."""


def read(path: Path, form: str) -> dict[str, Array]:
    """Every tensor that a file holds, by the name it has there; `form` is an `Artifact.format`.

    Raises BundleCorrupt where the file cannot be read as that form.
    """
    readers = {
        "weights": from_safetensors,
        "exported_program": from_program,
        "torchscript": from_torchscript,
        "onnx": from_onnx,
    }
    try:
        return readers[form](path)
    except BundleCorrupt:
        raise
    except Exception as error:
        raise unreadable(path, form, error, "its constants cannot") from error


def unreadable(path: Path, form: str, error: Exception, what: str = "cannot") -> BundleCorrupt:
    """One line on a file that is damaged or of another form, in the library's first words."""
    words = str(error).strip().splitlines() or [type(error).__name__]
    return BundleCorrupt(f"{path}: {what} be read as {form} ({words[0][:200]}); export it again")


def edit_onnx(path: Path, edit: Callable[[Any], None], destination: Path) -> None:
    """A copy of an ONNX file in which `edit` has changed the ModelProto in place."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    edit(model)
    destination.write_bytes(model.SerializeToString(deterministic=True))


def from_safetensors(path: Path) -> dict[str, Array]:
    from safetensors.numpy import load_file

    return dict(load_file(path))


def from_onnx(path: Path) -> dict[str, Array]:
    """Initializers and constant nodes of the graph, its subgraphs and functions; external data is refused."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    found: dict[str, Array] = {}
    for name, tensor in _onnx_tensors(model.graph, model.functions):
        if not isinstance(name, str):
            raise BundleCorrupt(f"{path}: holds a name that is no text; export it again")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise BundleCorrupt(f"{path}: {name!r} lies in another file; export it as one file")
        found[name] = np.asarray(onnx.numpy_helper.to_array(tensor))
    return found


def _onnx_tensors(graph: Any, functions: Any = ()) -> Iterator[tuple[str, Any]]:
    for tensor in getattr(graph, "initializer", ()):
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield node.output[0] if node.output else node.name, attribute.t
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _onnx_tensors(inner)
    for function in functions:
        yield from _onnx_tensors(function)


@dataclass(frozen=True)
class _Place:
    """Where an archive holds a tensor: an entry of raw little-endian values, and the view of them."""

    entry: str
    dtype: str
    offset: int
    sizes: list[int]
    strides: list[int]


def from_program(path: Path) -> dict[str, Array]:
    """State and constants of a torch.export archive, by their names in the program."""
    return _from_archive(path, _program_places)


def from_torchscript(path: Path) -> dict[str, Array]:
    """Attributes by their path ("conv1.weight") and inlined constants by their number ("constants.3")."""
    return _from_archive(path, _torchscript_places)


def _from_archive(path: Path, places: Callable[[zipfile.ZipFile], Iterator[tuple[str, _Place]]]) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        return {name: _values(_view(_bytes(archive, p.entry), p).copy(), p) for name, p in places(archive)}


def _program_places(archive: zipfile.ZipFile) -> Iterator[tuple[str, _Place]]:
    prefix = archive_prefix(archive, "/archive_format")
    for folder, config in (("weights", "model_weights_config"), ("constants", "model_constants_config")):
        text = _bytes(archive, f"{prefix}/data/{folder}/{config}.json")
        for name, entry in json.loads(text)["config"].items():
            meta = entry.get("tensor_meta")
            if meta is None:
                continue
            if entry.get("use_pickle"):
                raise BundleCorrupt(f"{archive.filename}: {name!r} is pickled, not stored as raw bytes")
            sizes, strides = ([v["as_int"] for v in meta[key]] for key in ("sizes", "strides"))
            where = f"{prefix}/data/{folder}/{entry['path_name']}"
            yield name, _Place(where, SCALAR_TYPES[meta["dtype"]], meta["storage_offset"]["as_int"], sizes, strides)


def program_module(path: Path) -> Any:
    """`graph_module` of a `.pt2`, from its JSON; nothing is executed. Raises BundleCorrupt."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(_bytes(archive, f"{archive_prefix(archive, '/archive_format')}/models/model.json"))[
                "graph_module"
            ]
    except BundleCorrupt:
        raise
    except Exception as error:
        raise unreadable(path, "exported_program", error, "its graph cannot") from error


def archive_prefix(archive: zipfile.ZipFile, ending: str) -> str:
    """The folder that everything in a torch archive lies in."""
    for name in archive.namelist():
        if name.endswith(ending) and name.count("/") == 1:
            return name.split("/", 1)[0]
    raise BundleCorrupt(f"{archive.filename}: is no archive of torch ({ending.strip('/')} is missing)")


def _bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleCorrupt(f"{archive.filename}: {name} is missing or damaged; export it again") from error


def _values(words: Array, place: _Place) -> Array:
    """What `_view` gives, as numbers: bfloat16 is widened to float32, which is exact."""
    return (words.astype(np.uint32) << 16).view(np.float32) if place.dtype == "bf16" else words


def _view(data: bytes | bytearray, place: _Place) -> Array:
    """A tensor over raw bytes, of bfloat16 its 16-bit words."""
    flat: Array = np.frombuffer(data, "<u2" if place.dtype == "bf16" else np.dtype(place.dtype).newbyteorder("<"))
    if 0 in place.sizes:
        return np.empty(place.sizes, flat.dtype)
    last = place.offset + sum((n - 1) * s for n, s in zip(place.sizes, place.strides, strict=True))
    if place.offset < 0 or min([*place.sizes, *place.strides, 0]) < 0 or last >= len(flat):
        raise BundleCorrupt("a tensor reaches beyond its bytes")
    steps = [s * flat.itemsize for s in place.strides]
    return np.lib.stride_tricks.as_strided(flat[place.offset :], place.sizes, steps)


def _torchscript_places(archive: zipfile.ZipFile) -> Iterator[tuple[str, _Place]]:
    prefix = archive_prefix(archive, "/data.pkl")
    for part in ("data", "constants"):
        with archive.open(f"{prefix}/{part}.pkl") as stream:
            for name, tensor in tensors_in(stream, "" if part == "data" else "constants"):
                where = f"{prefix}/{part}/{tensor.storage.key}"
                yield name, _Place(where, tensor.storage.dtype, tensor.offset, tensor.sizes, tensor.strides)


def replace_tensors(path: Path, form: str, arrays: Mapping[str, Array], destination: Path) -> None:
    """A copy of a file of `WRITABLE` form in which the tensors `arrays`, of the same shapes and types, stand instead.

    Those of bfloat16 are given as `read` gives them, as float32; what does not fit into its 16 bits is cut off.
    Raises BundleCorrupt where a name is not in the file or a tensor does not fit.
    """
    if form == "onnx":
        _replace_in_onnx(path, arrays, destination)
    else:
        _replace_in_archive(path, form, arrays, destination)


def _replace_in_onnx(path: Path, arrays: Mapping[str, Array], destination: Path) -> None:
    import onnx

    left = dict(arrays)

    def edit(model: Any) -> None:
        for name, tensor in _onnx_tensors(model.graph, model.functions):
            if name in left:
                new = onnx.numpy_helper.from_array(np.array(left.pop(name), order="C"), tensor.name)
                if list(new.dims) != list(tensor.dims) or new.data_type != tensor.data_type:
                    raise BundleCorrupt(f"{path}: {name!r} is of another shape or type")
                tensor.CopyFrom(new)
        if left:
            raise BundleCorrupt(f"{path}: holds no {', '.join(left)}")

    edit_onnx(path, edit, destination)


def _replace_in_archive(path: Path, form: str, arrays: Mapping[str, Array], destination: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        places = dict(PLACES[form](archive))
        missing = [name for name in arrays if name not in places]
        if missing:
            raise BundleCorrupt(f"{path}: holds no {', '.join(missing)}")
        changed: dict[str, bytearray] = {}
        for name, array in arrays.items():
            place = places[name]
            view = _view(changed.setdefault(place.entry, bytearray(_bytes(archive, place.entry))), place)
            if view.shape != array.shape or _values(view[:0], place).dtype != array.dtype:
                raise BundleCorrupt(f"{path}: {name!r} is of another shape or type")
            view[...] = np.ascontiguousarray(array).view(np.uint32) >> 16 if place.dtype == "bf16" else array
        with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as copy:
            for info in archive.infolist():
                copy.writestr(info.filename, bytes(changed.get(info.filename) or archive.read(info)))


PLACES: Mapping[str, Callable[[zipfile.ZipFile], Iterator[tuple[str, _Place]]]] = {
    "exported_program": _program_places,
    "torchscript": _torchscript_places,
}
WRITABLE = ("onnx", *PLACES)
"""Forms whose tensors can be replaced without executing anything."""
