"""The measurement: worker processes, schedule, result schema."""
