# No declarations: what is a C variable here could not be imported by name.
