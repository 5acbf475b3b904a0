"""The sub-commands of `celery -A …`, one file each."""
