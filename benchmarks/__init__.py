"""Benchmark scripts; no other package imports them."""

import os

# Of TensorFlow, which trains networks here, and ONNX Runtime deepface would take TensorFlow.
os.environ.setdefault("DEEPFACE_BACKEND_ENGINE", "onnx")
