"""The language of workflows: its schema, how a document is read, and how it is run."""
