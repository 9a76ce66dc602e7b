# Not one of them is a C variable here: they would be invisible to the modules that import them.
