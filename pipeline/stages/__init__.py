"""One module per stage. A stage reads files, calls the rooms below it and writes files."""
