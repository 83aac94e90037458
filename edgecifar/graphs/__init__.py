"""What is inside a model file: operators, tensors, quantization, metadata."""

# The name under which what edgecifar knows of a file travels inside it, as JSON.
METADATA = "edgecifar"

# What the ONNX nodes say of themselves that resize an image by products with constant matrices:
# they are no layer, though a MatMul is one elsewhere.
RESIZING = "part of a resize"
