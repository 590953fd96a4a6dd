"""The techniques' pages: what a module says of its technique, with the catalog's evidence, as Markdown."""
