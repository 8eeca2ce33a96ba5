"""The public Python API, one function a command: they take paths or recipes, return data and print nothing.

A listener, where one is given, is told what happens: see :mod:`qrecipe.experiment.events`.
"""
