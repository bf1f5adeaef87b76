"""Sources of faces seen from known cameras."""
