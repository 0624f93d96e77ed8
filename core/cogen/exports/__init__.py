"""A composite in the forms that other engines read: GGUF, FP8, INT8, ONNX.

The conversions are those of llama.cpp, compressed-tensors and onnxruntime-genai, each an extra of the distribution.
What is done here is around them: what may be exported, the check that the export is still the same function, what it
costs in bits per byte, and a folder that appears whole or not at all.
"""
