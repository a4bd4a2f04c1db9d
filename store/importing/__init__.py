"""Results that others measured: readers of their files, one to a format.

What is imported is kept apart from what Paretoken measured: in tables of its own, with where it
came from, and on no frontier but that of its own collection.
"""
