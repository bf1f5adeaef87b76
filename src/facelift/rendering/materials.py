"""Materials of a head, by index; the shader looks their properties up in `TABLE`."""

import numpy as np

SKIN, GUMS, TEETH, EYE, LASHES, SOCKET, HAIR, HAND, CLOTH, FRAME, LENS = range(11)
"""From HAIR on: what lies over the head. From CLOTH on: things that are worn, coloured by the picture of what a face
wears."""

TABLE = np.array(
    [  # specular strength, shininess, two-sided, alpha-tested
        [1.0, 14.0, 0, 0],  # skin: strength times the face's own oiliness
        [1.2, 40.0, 0, 0],
        [1.5, 60.0, 0, 0],
        [1.2, 250.0, 0, 0],
        [0.0, 1.0, 1, 1],
        [0.0, 1.0, 0, 0],
        [0.15, 20.0, 1, 1],
        [1.0, 14.0, 1, 0],  # hand: as skin
        [0.0, 1.0, 1, 0],
        [1.5, 60.0, 1, 0],
        [3.0, 300.0, 1, 0],
    ],
    np.float32,
)
