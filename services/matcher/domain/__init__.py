"""Decides which records an activity relates to: relations, rules, directory, matching, live activities.

Imports the standard library and `shared` only. Time is passed in.
"""
