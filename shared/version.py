"""The version that every service reports in `/status`, in a metric and in a header."""

VERSION = "0.2.0"
