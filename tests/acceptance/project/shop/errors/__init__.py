"""What fails, by the service that it belongs to."""
