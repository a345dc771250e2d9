"""The matcher: rules, law, window, takeovers."""
