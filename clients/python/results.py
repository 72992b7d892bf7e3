"""What works, and what a client itself lacks: lines of KALAMFLIGHT_RESULTS, of which clients/table makes the table in README.md."""

import importlib.metadata
import os


def works(package, area):
    """Notes that an area of use works."""
    _note(package, "works", area)


def lacks(package, what):
    """Notes what the client itself cannot do; the caller has just seen that it does not."""
    _note(package, "lacks", what)


def _note(package, verdict, text):
    if path := os.environ.get("KALAMFLIGHT_RESULTS"):
        with open(path, "a", encoding="utf-8") as f:
            f.write("\t".join([package, importlib.metadata.version(package), verdict, text]) + "\n")
