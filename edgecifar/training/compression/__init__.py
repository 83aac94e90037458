"""Compression: fine-tune a finished run for int8, for zeros, or for few distinct weights."""
