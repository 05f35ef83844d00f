"""Choosing models and the devices they run on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from faces.core.errors import WrongUsageError
from faces.models import built_in
from faces.models.catalog import check_model, list_models
from faces.models.choice import BUILT_IN_DETECTORS, BUILT_IN_EMBEDDERS, ModelChoice
from faces.models.engines import OnnxRuntimeNetwork, resolve_placement
from faces.models.placement import Placement
from faces.models.preparation import prepare
from faces.models.registry import find_embedder, load_embedder, load_pipeline
from faces.models.sface import SFACE, SFACE_INT8, SFACE_INT8_MIRRORED
from faces.models.weights import recorded_milliseconds
from tests.support.command import ONE_WORKER, run_facetrove

LIBRARIES = ("openvino", "onnxruntime", "onnx", "deepface", "dlib")
"""The libraries that run models; each is imported by the first model that uses it."""


def has_provider(name: str) -> bool:
    return f"{name}ExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            ModelChoice(detector="eyes"),
            "no detector is called 'eyes'; choose from yunet, yunet-refined, deepface:",
        ),
        (
            ModelChoice(embedder="facenet"),
            "no embedder is called 'facenet'; choose from sface-int8",
        ),
        (ModelChoice(alignment="square"), "no alignment is called 'square'"),
        (ModelChoice(alignment="face_recognition"), "is for deepface:Dlib alone"),
    ],
)
def test_unknown_names_are_wrong_usage(choice: ModelChoice, message: str) -> None:
    with pytest.raises(WrongUsageError, match=message):
        load_pipeline(choice, threads=1)


def output_of(script: str) -> list[str]:
    """Run a script in a fresh process, and return the lines that it prints."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("first", "unloaded"),
    [
        ("import faces.models.choice", (*LIBRARIES, "cv2", "numpy")),
        ("import faces.models.registry", LIBRARIES),
        ("from faces.models.catalog import list_models; list_models()", LIBRARIES),
    ],
)
def test_names_are_listed_without_loading_the_libraries_that_run_models(
    first: str, unloaded: tuple[str, ...]
) -> None:
    script = f"import sys; {first}; print([name for name in {unloaded} if name in sys.modules])"
    assert output_of(script) == ["[]"]


def test_a_process_loads_no_other_engine_than_it_uses() -> None:
    load_pipeline(ModelChoice(device="openvino"), threads=1)  # prepared before, if need be
    script = f"""
import sys
import numpy as np
from faces.models.choice import BUILT_IN_DETECTORS, BUILT_IN_EMBEDDERS, ModelChoice
from faces.models.registry import load_pipeline
pipeline = load_pipeline(ModelChoice(device="openvino"), threads=1)
pipeline.find_faces([np.zeros((64, 64, 3), np.uint8)])
pipeline.embedder.embed(np.zeros((1, 112, 112, 3), np.uint8))
print([name for name in {LIBRARIES} if name in sys.modules])
"""
    assert output_of(script) == ["['openvino']"]


def test_without_deepface_the_message_says_how_to_install_it() -> None:
    script = """
import sys
sys.modules["deepface"] = None
from faces.core.errors import ModelUnavailableError
from faces.models.choice import BUILT_IN_DETECTORS, BUILT_IN_EMBEDDERS, ModelChoice
from faces.models.registry import load_detector
try:
    load_detector(ModelChoice(detector="deepface:opencv"), threads=1)
except ModelUnavailableError as error:
    print(error)
"""
    (message,) = output_of(script)
    assert message.startswith("deepface is not installed (")
    assert message.endswith("); run `pip install deepface==0.0.103 werkzeug dlib-bin`")


def test_the_built_in_names_are_those_of_the_built_in_models() -> None:
    assert tuple(built_in.FAMILY.detectors) == BUILT_IN_DETECTORS
    assert [find_embedder(name) for name in BUILT_IN_EMBEDDERS] == [
        SFACE_INT8,
        SFACE,
        SFACE_INT8_MIRRORED,
    ]


def test_a_device_that_is_not_there_is_refused_with_what_it_needs() -> None:
    for device, provider in (("cuda", "CUDA"), ("tensorrt", "Tensorrt"), ("coreml", "CoreML")):
        if has_provider(provider):
            continue
        with pytest.raises(WrongUsageError, match=f"device {device} needs .*; use --device cpu"):
            load_embedder(ModelChoice(device=device), threads=1)  # type: ignore[arg-type]


def test_falling_back_to_the_processor_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a device's driver is missing, ONNX Runtime only warns; facetrove must raise."""
    if has_provider("CUDA"):
        pytest.skip("there is CUDA here")
    path = prepare(SFACE.source).path
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(WrongUsageError, match="would run on CPUExecutionProvider instead"),
    ):
        OnnxRuntimeNetwork(path, threads=1, placement=Placement("cuda"))


def test_half_precision_is_for_gpus() -> None:
    for device in ("auto", "cpu", "openvino"):
        with pytest.raises(WrongUsageError, match="fp16 is for the devices cuda, tensorrt, coreml"):
            Placement(device, "fp16")  # type: ignore[arg-type]
    with pytest.raises(WrongUsageError, match="no device is called 'gpu'"):
        Placement("gpu")  # type: ignore[arg-type]


def test_auto_is_resolved_to_a_device() -> None:
    placement = resolve_placement(Placement("auto"))
    assert placement.device in ("cpu", "cuda")
    embedder = load_embedder(ModelChoice(device="auto"), threads=1)
    assert embedder.runs_on in (
        "OpenVINO on cpu",
        "ONNX Runtime on cpu",
        "ONNX Runtime on cuda, fp32",
    )


def test_openvino_runs_on_openvino_and_computes_the_same() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    on_openvino = load_embedder(ModelChoice(embedder="sface", device="openvino"), threads=1)
    fastest = load_embedder(ModelChoice(embedder="sface", device="cpu"), threads=1)
    assert on_openvino.runs_on == "OpenVINO on cpu"
    assert np.allclose(on_openvino.embed(crops), fastest.embed(crops), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_what_ran_where_is_in_the_summary(demo_photos: Path, tmp_path: Path) -> None:
    options = ("--device", "openvino", "--threads", "1", "--json")
    done = run_facetrove("embed", demo_photos, tmp_path / "d", *options, *ONE_WORKER)
    assert done.returncode == 0, done.stderr
    expected = {"yunet": "OpenVINO on cpu", "sface-int8": "OpenVINO on cpu"}
    assert json.loads(done.stdout)["runs_on"] == expected
    stored = json.loads(run_facetrove("info", tmp_path / "d", "--json").stdout)
    assert stored["runs"][-1]["runs_on"] == expected
    if not has_provider("CUDA"):
        refused = run_facetrove("embed", demo_photos, tmp_path / "e", "--device", "cuda")
        assert refused.returncode == 2
        assert refused.stderr.startswith("facetrove: error: device cuda needs onnxruntime-gpu")
        assert not (tmp_path / "e").exists()


def test_every_model_has_a_card_that_says_what_a_person_must_know() -> None:
    cards = list_models()
    assert len({card.name for card in cards}) == len(cards)
    for card in cards:
        assert card.licence
        assert card.commercial in ("yes", "no", "unclear")
        if card.kind == "embedder" and card.lfw is not None:
            assert 0.5 < card.lfw < 1
            assert card.lfw_source
    card, found = check_model("sface-int8")
    assert card.here
    assert found["digest"] == load_embedder(ModelChoice(), threads=1).weights_digest
    milliseconds = recorded_milliseconds("sface-int8")
    assert milliseconds is not None
    assert card.faces_per_second == pytest.approx(1000 / min(milliseconds.values()), rel=0.01)


def test_the_list_is_read_by_people_and_machines() -> None:
    shown = run_facetrove("models").stdout
    assert "deepface:VGG-Face" in shown
    assert "CC BY-NC 4.0" in shown
    listed = json.loads(run_facetrove("models", "--json").stdout)["models"]
    by_name = {card["name"]: card for card in listed}
    assert by_name["deepface:Buffalo_L"]["commercial"] == "no"
    assert by_name["deepface:Facenet512"]["dimension"] == 512
    trained_on_photos_for_research = ("sface", "sface-int8", "yunet", "deepface:SFace")
    assert {by_name[name]["commercial"] for name in trained_on_photos_for_research} == {"unclear"}
    one = json.loads(run_facetrove("models", "yunet", "--json").stdout)
    assert one["here"] is True
    assert len(one["digest"]) == 64
