"""Many processes: a master that binds, forks workers, and keeps as many of them serving as were asked for."""
