"""QA of auto-labels: who decides about which track, how people's answers become one label, and
how annotators and the auto-labeller are watched. Values in, values out; no files, no database.
"""
