"""What the store says to Celery; its addresses stand in the environment."""

imports = ("store.stock",)
steadybeat_retry_backoff_seconds = 0.2
