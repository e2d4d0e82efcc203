"""What the agent may do by ignition, supply and heat: readings, a pure step, the task of both."""
