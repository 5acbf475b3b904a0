"""A small project on plain Celery and RedBeat, as it was before anybody had heard of steadybeat."""
