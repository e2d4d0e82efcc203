"""What triggers read: the table of signals, those derived for it, and which specs they suffice."""
