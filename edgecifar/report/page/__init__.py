"""The report: one HTML page that shows runs, exports and results of benches."""
