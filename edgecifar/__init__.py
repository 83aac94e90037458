"""Train CIFAR-10-size image classifiers, export them to int8, and measure what they cost."""

__version__ = "0.1.0"
