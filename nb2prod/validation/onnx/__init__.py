"""Fitted models as ONNX. Runs in a process of its own: sklearn and onnx are imported freely."""
