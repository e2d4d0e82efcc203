"""The work of each stage, a module each: `offline.pipeline.table` names them."""
