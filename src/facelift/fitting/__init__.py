"""Head models fitted to 2D points: Levenberg-Marquardt over many faces at once."""
