"""The fleet's half of the cloud: check-ins, what each vehicle is ordered to hold, rollouts.

`rollout` decides, this package reads the database for it and writes down what it decided.
"""
