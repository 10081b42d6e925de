"""What a model folder can be: one file per kind; other packages add their own."""
