"""Checks of this repository that no published checker has; `make lint` runs them.

`dependencies` compares the imports of each program with its extra in pyproject.toml. `vocabulary` finds the
words that docs/glossary.md replaces. `textfiles` compares every text file with .editorconfig.
"""
