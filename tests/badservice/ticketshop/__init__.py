"""Tickets: a shop that sells them, mints them, and pays artists their royalties."""
