"""Where the weights live, and when the workers meet: one file a kind of store.

A store has the verbs of `one.One`. What it keeps goes into checkpoints as arrays:
those of `own` have a row a hosted worker, those of `alike` are the same on all ranks.
"""
