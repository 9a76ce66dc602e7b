"""Gateway inside other programs: gunicorn's workers, uvicorn's names, Django."""
