"""What tracking decides: who may read, what a timeline shows, what becomes of a Track.

Pure: the standard library and `shared`, and time is passed in.
"""
