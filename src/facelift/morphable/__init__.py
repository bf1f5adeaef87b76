"""Linear heads: identity and expression in, mesh and landmarks out."""
