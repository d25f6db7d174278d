"""How work is planned, run, remembered and audited.

The command line is `pipelines.cli`; `pipelines.workspace.Workspace` is the same from Python.
"""
