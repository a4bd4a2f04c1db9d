"""What is made of transformers' own classes and functions.

Imported once a model is opened or read: importing transformers takes seconds, for which whoever
only looks at adapters, methods or tasks does not wait.
"""
