"""From a checkpoint to verified TFLite and ONNX files, and the cards beside them."""
