"""The JSON documents, declared once: what a form says is what is written, read, and in the schema."""
