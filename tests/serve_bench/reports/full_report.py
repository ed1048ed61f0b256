"""Two bundles with every kind of content that a report can hold, from records made by hand: nothing is measured."""

import random
from dataclasses import replace

from report_records import HALF, HERE, ONNX, PROGRAM, FakeBundle, artifact, manifest, measurement, verification, whole
from test_scenario_section import HELD, record
from test_sweep_reports import WINDOWS, point

from export.bundle.types import EpochRecord, TensorSpec
from serve_bench.latency.cold import ColdStart
from serve_bench.reports._ceiling import Ceiling, Roofline
from serve_bench.reports.summary import summarise

SCRIPTED, PACKAGE, INT8 = artifact("torchscript"), artifact("aotinductor"), artifact("onnx", "int8")
FORMS = (
    (PROGRAM, "eager", 258_000),
    (PROGRAM, "compiled", 209_000),
    (SCRIPTED, "torchscript", 123_000),
    (ONNX, "onnxruntime-cpu", 31_700),
    (HALF, "onnxruntime-cpu", 38_000),
    (ONNX, "openvino", 46_000),
    (HALF, "openvino", 300_000),
    (PACKAGE, "aotinductor", 151_000),
    (INT8, "onnxruntime-cpu", 352_000),
)
"""Form, backend and its median at batch 1, ns; two are slower than eager."""
BATCHES = (1, 64)
SETTINGS = {
    "intra_op_threads": 1,
    "graph_optimization": "all",
    "spinning": "none: no pool",
    "placement": {"CPUExecutionProvider": 11},
    "trt_engine_cache_path": "/home/somebody/.cache/pipeline/" + 4 * "onnxruntime-tensorrt/",
}


PEAK = {
    "flops_per_s": 1e11,
    "bytes_per_s": 2e10,
    "library": "numpy",
    "matrix": 512,
    "threads": 1,
    "copy_bytes": 128_000_000,
}


def interleaved(forms, batches, **changes):
    """Latencies about each median, a few of them far above, 680 in 4 replicates: p99 is borne."""
    drawn, run = random.Random(0), []
    for batch in batches:
        for of, backend, one_ns in forms:
            middle = one_ns * (0.3 + 0.7 * batch**0.9)
            spread = [[drawn.lognormvariate(0, 0.04) for _ in range(170)] for _ in range(4)]
            by_replicate = [[round(middle * (x if x < 1.08 else x**4)) for x in values] for values in spread]
            run.append(measurement(of, backend, batch, by_replicate, settings=SETTINGS, **changes))
    facts = {"cells": len(run), "batches": list(batches), "unsettled_replicates": 0}
    return [replace(r, facts=r.facts | facts) for r in run]


def sweeps():
    onnx = (ONNX, "onnxruntime-cpu")
    found = [
        point("batch", of, backend, round(ns * (0.3 + 0.7 * batch**0.9)), 8, batch=batch)
        for of, backend, ns in FORMS[:2]
        for batch in (1, 8, 64, 512)
    ]
    found += [point("precision", of, "onnxruntime-cpu", ns, 3) for of, ns in ((ONNX, 1000), (HALF, 500), (INT8, 2000))]
    found += [
        point("threads", *onnx, batch * 40_000 // (n if batch > 1 else 1), 6, threads=n, batch=batch)
        for batch in (1, 64)
        for n in (1, 2, 4)
    ]
    found += [point("length", *onnx, 1000 * n, 4, length=n) for n in (4, 8, 16, 64)]
    return found + concurrency()


def concurrency():
    """Two processes whose medians are told as "900, 900 ns", and four at 1.1 µs: more of its processes is more time."""
    found = []
    for count, each_ns in ((1, 800), (2, 900), (4, 1100)):
        runs = 20 * count
        found.append(
            point(
                "concurrency",
                ONNX,
                "onnxruntime-cpu",
                each_ns,
                3,
                processes=count,
                latencies_ns=(each_ns,) * runs * 2,
                replicates=(0,) * runs + (1,) * runs,
                starts_ns=tuple(each_ns * i for i in range(20)) * count * 2,
                process_of=tuple(n for n in range(count) for _ in range(20)) * 2,
                windows=tuple(replace(w, end_ns=20 * each_ns) for w in WINDOWS) if count > 1 else (),
            )
        )
    return found


def scenarios():
    """p90 of SingleStream are 900.5 µs, 9.005 ms and 90.05 µs: none of them sorts as text."""
    scaled = {name: [x * k for x in range(100, 100_100, 100)] for name, k in (("", 9), ("0", 90), ("9", 1))}
    eager, scripted = (PROGRAM, "eager"), (SCRIPTED, "torchscript")
    single = [
        record("SingleStream", *of, latencies_ns=tuple(scaled[name]), overhead_ns=2000.0)
        for of, name in (((ONNX, "onnxruntime-cpu"), ""), (eager, "0"), (scripted, "9"))
    ]
    bound = {"latency_bound_ns": 3_000_000, "bound_from": "given"}
    return [
        *single,
        record("MultiStream", samples_per_query=8, batch=8),
        record("MultiStream", *eager, samples_per_query=8, batch=8, count=64),
        record("Offline", samples=80_000, queries=1, batch=64),
        record("Server", trials=HELD, **bound),
        record("Server", *eager, valid=False, error="eager: its process ended", **bound),
    ]


def cold_starts():
    """0.95 s, 1.21 s and 80 ms; peak memory with a GPU's beside it."""
    kept = {"threads": 1, "environment": "env1", "run": "cold1", "started": "2026-01-03T00:00:00+00:00"}
    found = []
    for of, backend, total_ns, peak, gpu in (
        (PROGRAM, "eager", 1_210_000_000, 685_000_000, ()),
        (SCRIPTED, "torchscript", 950_000_000, 1_200_000_000, (2_000_000_000,)),
        (ONNX, "onnxruntime-cpu", 80_000_000, 32_000_000, ()),
    ):
        times = {name: (total_ns // part,) * 3 for name, part in (("total_ns", 1), ("open_ns", 2), ("first_run_ns", 9))}
        made = ColdStart(
            artifact=of.name,
            artifact_sha256=of.sha256,
            backend=backend,
            device="cpu",
            artifact_bytes=of.bytes,
            peak_bytes=(peak,) * 3,
            gpu_bytes=gpu,
            **times,
            **kept,
        )
        found.append(made)
    none: dict = {"total_ns": (), "open_ns": (), "first_run_ns": ()}
    return [*found, replace(found[0], backend="compiled", error="no C++ compiler was found", **none)]


def roofline():
    """Operations of 2.60 MFLOP, 850 kFLOP, 1.30 GFLOP and 1.10 TFLOP, in this order."""
    return Roofline(
        flops_per_s=1e11,
        bytes_per_s=2e10,
        peaks=(PEAK,),
        ceilings=tuple(
            Ceiling(
                batch=batch,
                flops=flops,
                bytes=flops // 8,
                intermediate_bytes=0,
                intensity=8.0,
                latency_ns=flops / 100,
                bound="compute",
                best="onnxruntime-cpu",
                best_share=0.12,
                eager_share=0.015,
            )
            for batch, flops in ((8, 2_600_000), (1, 850_000), (64, 1_300_000_000), (512, 1_100_000_000_000))
        ),
        unknown={},
        notes=(),
    )


def verdicts():
    found = [
        verification(
            of, backend, 2e-7 if of.precision == "float32" else 5e-4, 8e-7 if of.precision == "float32" else 2e-3
        )
        for of, backend, _ in FORMS[:-1]
    ]
    wrong = verification(INT8, "onnxruntime-cpu", 1e-1, 2e-3)
    changed = {"lost": 12, "gained": 3, "p_value": 0.04, "drop": 0.0009, "drop_low": 0.0001, "drop_high": 0.0017}
    found[-1] = replace(
        found[-1], against_truth=changed, non_finite={"nan": "1 output is finite where eager's are not"}
    )
    return [*found, wrong]


def classifier():
    """The summary of a bundle that has everything but a fitted curve."""
    kept = whole().records
    bundle = FakeBundle(
        {
            "measurement": interleaved(FORMS, BATCHES),
            "verification": verdicts(),
            "absent": kept["absent"],
            "sweep": sweeps(),
            "scenario": scenarios(),
            "cold": cold_starts(),
        }
    )
    training = replace(
        manifest().training,
        history=tuple(
            EpochRecord(epoch=n, loss=0.5 / n, validation_accuracy=1 - 0.05 / n, seconds=1.0, learning_rate=0.1)
            for n in range(1, 9)
        ),
    )
    bundle.manifest = manifest(training=training, artifacts=(PROGRAM, SCRIPTED, ONNX, HALF, PACKAGE, INT8))
    return replace(summarise(bundle), roofline=roofline())


def regression():
    """The summary of another model, on another machine, with data and fit; one of its forms has no figure."""
    there = replace(HERE, id="env2", cpu="Another processor", gpus=({"name": "NVIDIA A100", "memory": "40 GB"},))
    run = interleaved(FORMS[:4], (1, 8), environment="env2", run="run2")
    broken = replace(
        run[1], latencies_ns=(), replicates=(), rounds=(), error="it ran out of memory: " + 9 * "long words "
    )
    bundle = FakeBundle({"measurement": [run[0], broken, *run[2:]], "environment": [there]})
    training = replace(
        manifest().training, metrics={"test_mse": 0.01}, facts={"fit": [[x / 9, x * x / 81, x / 10] for x in range(10)]}
    )
    curve = TensorSpec(name="a curve", dtype="float32", shape=("batch", 1))
    bundle.manifest = manifest(model="gp-relu3", task="regression", training=training, outputs=(curve,))
    return summarise(bundle)
