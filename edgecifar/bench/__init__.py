"""The measurement: cases, runner, workers, hosts and results."""
