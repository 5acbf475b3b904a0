"""Checks: one function for each line of the checklist, one file for each section."""
