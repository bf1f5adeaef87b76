"""From 2D landmarks in many views of one face to one set of 3D landmarks: rig, masks, solver, pseudo-labels."""
