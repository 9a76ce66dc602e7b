"""One process: listeners, one event loop, threads, the application's lifespan, draining."""
