"""The stream's requests against a real receiver, by real enrolled identities."""
