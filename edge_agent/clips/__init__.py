"""From a capture job to a clip file in the spool, and the event record that goes ahead of it."""
