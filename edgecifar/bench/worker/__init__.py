"""What runs beside a model, here or on a Raspberry Pi: numpy and a runtime, nothing more."""
