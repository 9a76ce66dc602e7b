"""`gateway.core`, compiled: same modules, same names, same behaviour."""
