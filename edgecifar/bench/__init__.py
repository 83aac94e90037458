"""The measurement: worker processes, schedule, statistics, result schema."""
