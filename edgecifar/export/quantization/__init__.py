"""From a float TFLite file to quantized ones, by ai-edge-quantizer: no TensorFlow here."""
