"""Published trigger specs (YAML, one immutable file a version) and their JSON Schema."""
