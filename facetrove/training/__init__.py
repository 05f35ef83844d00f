"""Training networks of one's own, by Keras; what is trained is an ONNX file and a TOML file."""
