"""Measures gateway beside other Python servers: `python -m benchmarks`; README.md says how and why so."""
