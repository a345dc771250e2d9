"""What decides: relations, rules, directory, matching, window. Only the standard library and `shared`; time is passed in."""
