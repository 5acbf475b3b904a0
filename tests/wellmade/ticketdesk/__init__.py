"""The ticket shop once more, as well as it can be made with Celery alone."""
