"""The mining index: vectors beside the catalog, and what people search by."""
