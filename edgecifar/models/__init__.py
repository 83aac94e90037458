"""Networks, as Keras functions: uint8 images in, class probabilities out."""
