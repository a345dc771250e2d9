"""What tracking decides: who may read a record, what a timeline shows, what follows from Track.

In: the state that the store holds, and the time. Out: the new state, or what a user sees. Pure: the
standard library and `shared`.
"""
