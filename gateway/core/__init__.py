"""The request path, in plain typed Python: it runs as it is, and compiled as `gateway._speedups`."""
