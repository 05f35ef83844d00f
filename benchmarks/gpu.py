"""Networks, the embed job, exact search and building on an NVIDIA card, beside the processor.

    python -m benchmarks.gpu [--photos FOLDER] [--seconds 600] [--parts networks search ...]

networks  the embedder and the detector by batch, in fp32 and fp16, on ONNX Runtime's CUDA and
          TensorRT, beside the rate that the card's own matrix products would allow
job       `facetrove embed` of the photos on the card and on the processor
search    FAISS's flat index of 1 and 10 million embeddings, in fp32 and fp16, beside the time in
          which the card copies as many bytes
building  training an index of a million faces by automatic recipe

Each part compares its answers with the processor's, and says what is missing instead of failing.
Embeddings are random, as exact search takes the same time for any.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.index_galleries import recall_of
from benchmarks.measure import print_header, print_table, timed_command
from faces.core.machine import available_threads
from faces.dataset.store import Dataset
from faces.models.engines import OnnxRuntimeNetwork
from faces.models.placement import PROVIDERS, Placement
from faces.models.preparation import prepare
from faces.models.sface import SFACE
from faces.models.yunet_network import YUNET
from indexer.faiss_library import faiss
from indexer.options import IndexOptions, Recipe
from indexer.recipes import add, choose_recipe, search_parameters, train

Vectors = NDArray[np.float32]

BATCHES = (1, 8, 32, 128, 512)
"""Numbers of crops, or of images, in a batch."""

MACS = {"sface": 0.58e9}
"""Multiply-adds of a network for one row."""

FLAT = ((1_000_000, 128), (10_000_000, 128), (10_000_000, 512))
"""Numbers of embeddings and of their dimensions that exact search is measured with."""

BLOCK_ROWS = 100_000
"""Embeddings that are made, added and compared at a time."""

K = 5
"""Matches of a search: InsightFace Server's figure is for so many."""

RESERVE = 0.85
"""Share of the card's free memory that an index may take."""


@dataclass(frozen=True)
class Parity:
    """How far two computations of the same vectors differ.

    Attributes:
        min_cosine: the smallest cosine similarity of a pair.
        max_difference: the largest difference of two numbers of a pair.
    """

    min_cosine: float
    max_difference: float

    def __str__(self) -> str:
        return f"{self.min_cosine:.6f} {self.max_difference:.1e}"


def parity_of_vectors(ours: Vectors, theirs: Vectors) -> Parity:
    """Compare (n, d) vectors with the same vectors as computed elsewhere."""
    if ours.shape != theirs.shape:
        raise ValueError(f"{ours.shape} and {theirs.shape} are not the same vectors")
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = np.einsum("nd,nd->n", ours.astype(np.float64), theirs) / norms
    return Parity(float(cosines.min()), float(np.abs(ours - theirs).max()))


def parity_of_matches(
    similarities: Vectors, rows: NDArray[np.int64], exact: Vectors, tolerance: float
) -> tuple[float, float]:
    """Compare matches with those of an exact search.

    Args:
        similarities: (p, k) similarities of the matches, descending.
        rows: (p, k) their rows; -1 is padding.
        exact: (p, k) similarities that exact search finds, descending.
        tolerance: difference in similarity up to which a match is as good as the exact one.

    Returns:
        The share of the matches that are as good as the exact ones, and the largest difference.
    """
    differences = np.where(rows < 0, np.inf, np.abs(similarities - exact))
    return float((differences <= tolerance).mean()), float(differences.max())


def missing_provider(device: str) -> str | None:
    """Return what ONNX Runtime lacks to run networks on a device; None: nothing."""
    import onnxruntime

    provider, package = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        return f"{provider}: install {package} in place of onnxruntime"
    return None if card() else "an NVIDIA card: nvidia-smi finds none"


def missing_faiss() -> str | None:
    """Return what FAISS lacks to search on a card; None: nothing."""
    if not hasattr(faiss, "StandardGpuResources"):
        return "the package faiss-gpu: this is faiss-cpu"
    return None if faiss.get_num_gpus() else "a card that FAISS sees (faiss-gpu wants CUDA 12)"


@cache
def card() -> str | None:
    """Return the name, memory and driver of the first card; None: there is none."""
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.splitlines()[0].strip() if done.stdout.strip() else None


def bytes_per_second() -> float | None:
    """Measure how fast the card reads its memory, by copying within it; None: CUDA is missing."""
    size, copies = 1 << 30, 20
    for name in ("libcudart.so.13", "libcudart.so.12", "libcudart.so"):
        try:
            cuda = ctypes.CDLL(name)
        except OSError:
            continue
        pointers = [ctypes.c_void_p(), ctypes.c_void_p()]
        if any(cuda.cudaMalloc(ctypes.byref(p), ctypes.c_size_t(size)) for p in pointers):
            return None
        on_card = 3
        began = 0.0
        for copy in range(copies + 1):
            if copy == 1:  # the first one starts the card
                cuda.cudaDeviceSynchronize()
                began = time.perf_counter()
            cuda.cudaMemcpyAsync(*pointers, ctypes.c_size_t(size), on_card, None)
        cuda.cudaDeviceSynchronize()
        seconds = time.perf_counter() - began
        for pointer in pointers:
            cuda.cudaFree(pointer)
        return 2 * copies * size / seconds  # each byte is read and written
    return None


def seconds_of(work: Callable[[], object], *, least: float = 0.5) -> list[float]:
    """Time some work again and again for a while, after a first time that does not count."""
    work()
    taken: list[float] = []
    while sum(taken) < least or len(taken) < 3:
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return taken


def measure_networks(_: argparse.Namespace) -> None:
    """Measure the embedder and the detector by batch, on each device and precision."""
    rows: list[list[str]] = []
    for device in ("cuda", "tensorrt"):
        if missing := missing_provider(device):
            print(f"networks on {device}: unmeasured; missing: {missing}")
            continue
        for precision in ("fp32", "fp16"):
            products = _products_per_second(Placement(device, precision))
            for name, source, shape in (
                ("sface", SFACE.source, (3, 112, 112)),
                ("yunet", YUNET, (3, 640, 640)),
            ):
                path = prepare(source).path
                network = OnnxRuntimeNetwork(
                    path, threads=1, placement=Placement(device, precision)
                )
                reference = OnnxRuntimeNetwork(path, threads=available_threads())
                for size in BATCHES if name == "sface" else BATCHES[:4]:
                    row = _network_row(network, reference, (size, *shape), products, name)
                    rows.append([f"{name} {device} {precision}", str(size), *row])
    if rows:
        titles = ["network", "batch", "rows/s", "ms", "limit rows/s", "cosine, difference"]
        print_table(titles, rows)


def _network_row(
    network: Any, reference: Any, shape: tuple[int, ...], products: float, name: str
) -> list[str]:
    batch = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    taken = float(np.median(seconds_of(lambda: network.run(batch))))
    ours, theirs = network.run(batch[:8]), reference.run(batch[:8])
    worst = min(
        (
            parity_of_vectors(
                ours[key].reshape(len(ours[key]), -1), values.reshape(len(values), -1)
            )
            for key, values in theirs.items()
        ),
        key=lambda parity: parity.min_cosine,
    )
    limit = f"{products / MACS[name]:,.0f}" if name in MACS else ""
    return [f"{shape[0] / taken:,.0f}", f"{1000 * taken:.2f}", limit, str(worst)]


def _products_per_second(placement: Placement) -> float:
    """Measure the multiply-adds per second of large matrix products on a device."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size, chain = 4096, 8
    matrix = np.random.default_rng(0).normal(0, size**-0.5, (size, size)).astype(np.float32)
    nodes = [helper.make_node("Mul", ["matrix", "factor"], ["product0"])]
    nodes += [
        helper.make_node("MatMul", [f"product{n}", "matrix"], [f"product{n + 1}"])
        for n in range(chain)
    ]
    nodes.append(helper.make_node("ReduceMax", [f"product{chain}"], ["largest"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("factor", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("largest", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.onnx"
        onnx.save(model, path)
        network = OnnxRuntimeNetwork(path, threads=1, placement=placement)
        taken = min(seconds_of(lambda: network.run(np.ones(1, np.float32))))
    return chain * size**3 / taken


def measure_job(options: argparse.Namespace) -> None:
    """Measure the embed job of some photos on the card and on the processor."""
    if missing := missing_provider("cuda"):
        print(f"job: unmeasured; missing: {missing}")
        return
    if options.photos is None:
        print("job: unmeasured, as no --photos are given")
        return
    with tempfile.TemporaryDirectory() as work:
        rows, datasets = [], {}
        for device in ("cuda", "cpu"):
            datasets[device] = Path(work) / device
            command = [sys.executable, "-m", "facetrove", "embed", str(options.photos)]
            command += [str(datasets[device]), "--embedder", "sface", "--device", device, "--json"]
            cost = timed_command(command)
            num_photos = json.loads(cost.output)["done"]["num_photos"]
            figures = (
                num_photos / cost.seconds,
                cost.seconds,
                1000 * cost.cpu_seconds / num_photos,
            )
            rows.append([device, *(f"{figure:.1f}" for figure in figures)])
        print_table(["job on", "photos/s", "seconds", "processor ms/photo"], rows)
        same, parity = parity_of_datasets(datasets["cuda"], datasets["cpu"])
        print(f"{same:.4f} of the processor's faces are found on the card; cosine {parity}")


def parity_of_datasets(ours: Path, theirs: Path) -> tuple[float, Parity]:
    """Return the share of a dataset's faces that another has too, and the embeddings' parity."""
    columns = ["face_id", "embedding"]
    found = [Dataset.open(path).faces(columns).to_arrow().to_pydict() for path in (ours, theirs)]
    mine, its = (dict(zip(f["face_id"], f["embedding"], strict=True)) for f in found)
    both = sorted(mine.keys() & its.keys())
    if not both:
        raise ValueError(f"{ours} and {theirs} have no face in common")
    vectors = [np.array([of[face] for face in both], np.float32) for of in (mine, its)]
    return len(both) / len(its), parity_of_vectors(*vectors)


def random_blocks(count: int, dimension: int) -> Iterator[Vectors]:
    """Yield blocks of random unit vectors, by seed: one block with its columns moved and signed."""
    random = np.random.default_rng(0)
    base = random.standard_normal((min(BLOCK_ROWS, count), dimension), np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    for start in range(0, count, len(base)):
        signs = random.choice(np.array([-1, 1], np.float32), dimension)
        block = base[:, random.permutation(dimension)] * signs
        yield np.ascontiguousarray(block[: count - start])


@dataclass(frozen=True)
class FlatSearch:
    """The speed of an exact search, and how well it agrees with the processor's.

    Attributes:
        latency_ms: median time for one probe alone, in milliseconds.
        probes_per_second: throughput in batches.
        share: share of matches as good as the processor's.
        max_difference: largest difference of two similarities.
    """

    latency_ms: float
    probes_per_second: float
    share: float
    max_difference: float


def measure_flat(index: Any, count: int, dimension: int, *, tolerance: float) -> FlatSearch:
    """Fill an empty index, and measure its searches.

    Args:
        index: FAISS's, on a card or not.
        count: number of embeddings.
        dimension: number of dimensions.
        tolerance: as in `parity_of_matches`.
    """
    probes = next(random_blocks(1000, dimension)) + 0.01
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    checked = probes[:20]
    heap = faiss.ResultHeap(len(checked), K, keep_max=True)
    start = 0
    for block in random_blocks(count, dimension):
        index.add(block)
        similarities, rows = faiss.knn(checked, block, K, metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(similarities, rows + start)
        start += len(block)
    heap.finalize()
    singles = seconds_of(lambda: index.search(probes[:1], K), least=2)
    batches = seconds_of(lambda: index.search(probes, K), least=2)
    similarities, rows = index.search(checked, K)
    share, difference = parity_of_matches(similarities, rows, np.asarray(heap.D), tolerance)
    return FlatSearch(
        1000 * float(np.median(singles)), 1000 / float(np.median(batches)), share, difference
    )


def measure_search(_: argparse.Namespace) -> None:
    """Measure FAISS's exact search on the card."""
    if missing := missing_faiss():
        print(f"search: unmeasured; missing: {missing}")
        return
    speed = bytes_per_second()
    resources = faiss.StandardGpuResources()
    rows = []
    for count, dimension in FLAT:
        for precision, width in (("fp32", 4), ("fp16", 2)):
            title, num_bytes = f"{count:,} x {dimension} {precision}", count * dimension * width
            free = int(faiss.get_free_memory(0)) if hasattr(faiss, "get_free_memory") else 0
            if free and num_bytes > RESERVE * free:
                print(f"search: {title} unmeasured, as it takes {num_bytes:,} of {free:,} bytes")
                continue
            config = faiss.GpuIndexFlatConfig()
            config.useFloat16 = precision == "fp16"
            index = faiss.GpuIndexFlatIP(resources, dimension, config)
            found = measure_flat(
                index, count, dimension, tolerance=1e-5 if precision == "fp32" else 2e-3
            )
            limit = f"{1000 * num_bytes / speed:.2f}" if speed else "unmeasured"
            speeds = [f"{found.latency_ms:.2f}", limit, f"{found.probes_per_second:,.0f}"]
            rows.append([title, *speeds, f"{found.share:.4f}", f"{found.max_difference:.1e}"])
            del index
    titles = ["exact search", "p50 ms", "memory's limit ms", "probes/s", "as exact", "difference"]
    print_table(titles, rows)


def measure_building(_: argparse.Namespace) -> None:
    """Measure training and filling an index on the card and on the processor."""
    if missing := missing_faiss():
        print(f"building: unmeasured; missing: {missing}")
        return
    rows = [_built(device, 1_000_000) for device in ("cuda", "cpu")]
    print_table(["building on", "training s", "adding s", f"recall@{K}"], rows)


def _built(device: Any, count: int) -> list[str]:
    """Train and fill an index by automatic recipe; return the row of the table."""
    dimension = 128
    vectors = np.concatenate(list(random_blocks(count, dimension)))
    recipe = choose_recipe(IndexOptions(), count, dimension)
    began = time.perf_counter()
    codes = train(recipe, vectors, device=device)
    trained = time.perf_counter()
    for _ in add(codes, vectors):
        pass
    added = time.perf_counter()
    probes = vectors[:: count // 200]
    similarities, exact = faiss.knn(probes, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)
    searched = Recipe(recipe.factory, nprobe=256)
    _, found = codes.search(probes, 16 * K, params=search_parameters(codes, searched))
    recall = recall_of(similarities, exact, found, threshold=0.0)
    return [device, f"{trained - began:.1f}", f"{added - trained:.1f}", f"{recall.at_10:.4f}"]


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "networks": measure_networks,
    "search": measure_search,
    "building": measure_building,
    "job": measure_job,
}
"""The parts by name, in their order."""


def _versions() -> Iterator[str]:
    for package in ("onnxruntime", "onnxruntime-gpu", "faiss-gpu", "faiss-cpu"):
        with suppress(PackageNotFoundError):
            yield f"{package} {version(package)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder of photos for the job")
    parser.add_argument("--seconds", type=float, default=600, help="begin no part after that")
    names = list(PARTS)
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="only these")
    options = parser.parse_args(arguments)
    print_header()
    print(f"card: {card() or 'none'}; {', '.join(_versions())}\n", flush=True)
    began = time.perf_counter()
    for name, measure in PARTS.items():
        if name not in options.parts:
            continue
        if time.perf_counter() - began > options.seconds:
            print(f"{name}: unmeasured, as {options.seconds:.0f} seconds are over")
            continue
        try:
            measure(options)
        except Exception as error:  # the other parts can be measured still
            print(f"{name}: unmeasured, as it failed: {type(error).__name__}: {error}")
        sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
    main()
