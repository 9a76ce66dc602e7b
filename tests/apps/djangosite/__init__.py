"""A Django project as people write them, served through its WSGI and through its ASGI entry point.

It keeps everything in the folder that the environment variable DJANGOSITE_HOME names; `python -m djangosite.prepare` makes the
database there.
"""
