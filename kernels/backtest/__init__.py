"""Specs tried on drives that are over, with the engine that runs on the vehicle.

`drives` puts log files together to drives, `replay` runs specs over them, `figures` says what
they would cost, `cases` runs a spec's own tests, `columns` evaluates a rule over whole columns.
"""
