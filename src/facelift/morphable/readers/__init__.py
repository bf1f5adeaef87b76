"""Linear face models of others from their released files, one file a family."""
