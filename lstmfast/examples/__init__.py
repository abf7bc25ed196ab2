"""Whole programs on top of lstmfast, one file to one idea; each runs with `python -m`."""
