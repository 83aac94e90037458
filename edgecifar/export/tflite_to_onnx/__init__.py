"""ONNX files from TFLite ones, of every precision.

The TFLite file is the one graph of an export; the ONNX file made from it has the same operators,
and a quantized one the same integers: weights, biases, scales and zero points are those of the
TFLite file.
"""

# Read by onnxruntime 1.15.0 and later, the first release that pip installs for the Python 3.11 of a
# 64-bit Raspberry Pi OS Bookworm.
OPSET, IR_VERSION = 17, 8
