"""Materials of a head, by index; the shader looks their properties up in `TABLE`."""

import numpy as np

SKIN, GUMS, TEETH, EYE, LASHES, SOCKET, HAIR = range(7)

TABLE = np.array(
    [  # specular strength, shininess, two-sided, alpha-tested
        [1.0, 14.0, 0, 0],  # skin: strength times the face's own oiliness
        [1.2, 40.0, 0, 0],
        [1.5, 60.0, 0, 0],
        [1.2, 250.0, 0, 0],
        [0.0, 1.0, 1, 1],
        [0.0, 1.0, 0, 0],
        [0.15, 20.0, 1, 1],
    ],
    np.float32,
)
