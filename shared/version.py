"""The version of this system, which every service reports."""

VERSION = "0.2.0"
"""The same as in pyproject.toml and CHANGELOG.md. A constant, because images contain no installed package."""
