from __future__ import annotations

from typing import Any

from celery import shared_task


@shared_task(bind=True, max_retries=3)
def send_welcome(self: Any, email: str) -> None:
    """Send the mail that greets a new account."""
    from django.core.mail import send_mail

    try:
        send_mail("Welcome", "Good to have you.", None, [email])
    except OSError as error:
        raise self.retry(exc=error, countdown=60 * 2**self.request.retries) from error
