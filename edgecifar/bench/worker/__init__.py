"""The program that runs a model on the host: it needs numpy and a runtime, nothing more."""
