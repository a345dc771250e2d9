"""Tests of the timeline page; a package, so that the system and the browser end with its last test."""
