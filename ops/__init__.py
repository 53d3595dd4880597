"""Running it and knowing how it runs: benchmarks and measurements."""
