"""What is inside a model file: operators, tensors, quantization, metadata."""

# The name under which what edgecifar knows of a file travels inside it, as JSON.
METADATA = "edgecifar"
