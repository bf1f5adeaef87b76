"""Other people's solvers on the problem of `bench_fitting.py`: SciPy, Theseus, and 20 lines of torch.func."""

from collections.abc import Callable
from functools import partial

import numpy as np

from facelift.geometry import cross_matrix, rotation_from_vector
from fitting_problem import POINTS, STEPS, Problem


def residuals_and_jacobian(
    problem: Problem, face: int, rotation: np.ndarray, coefficients: int, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the unknowns turn, translation, coefficients, in NumPy; turns about the head's origin."""
    turned = rotation_from_vector(x[:3]) @ rotation
    local = problem.mean + np.tensordot(x[6:], problem.basis[:coefficients], 1)
    arm = local @ turned.T
    u, v, z = (arm + x[3:6]).T
    focal, scale = problem.K[0, 0], problem.scale[face]
    slope = scale * focal / z
    pixels = np.stack([focal * u / z + problem.K[0, 2], focal * v / z + problem.K[1, 2]], -1)
    zero = np.zeros_like(z)
    rows = np.stack([np.stack([slope, zero, -slope * u / z], -1), np.stack([zero, slope, -slope * v / z], -1)], 1)
    jacobian = np.empty((POINTS, 2, 6 + coefficients))
    left = left_jacobian(x[:3])
    jacobian[..., :3] = np.cross(arm[:, None], rows) @ left
    jacobian[..., 3:6] = rows
    jacobian[..., 6:] = np.einsum("lac,kld,cd->lak", rows, problem.basis[:coefficients], turned, optimize=True)
    residuals = scale * (pixels - problem.points[face])
    prior = np.zeros((coefficients, 6 + coefficients))
    prior[:, 6:] = np.eye(coefficients)
    return np.append(residuals.ravel(), x[6:]), np.concatenate([jacobian.reshape(2 * POINTS, -1), prior])


def left_jacobian(vector: np.ndarray) -> np.ndarray:
    """Of SO(3)."""
    angle, K = np.linalg.norm(vector), cross_matrix(vector)
    if angle < 1e-6:
        return np.eye(3) + K / 2
    return np.eye(3) + (1 - np.cos(angle)) / angle**2 * K + (angle - np.sin(angle)) / angle**3 * K @ K


def scipy_faces(problem: Problem) -> Callable[[], np.ndarray]:
    from scipy.optimize import least_squares

    def solve(face: int) -> float:
        x = np.concatenate([np.zeros(3), problem.translation[face]])
        for coefficients in (0, len(problem.basis)):
            x = np.append(x, np.zeros(coefficients))
            parts = partial(residuals_and_jacobian, problem, face, problem.rotation[face], coefficients)
            found = least_squares(*pair(parts, x), max_nfev=STEPS, x_scale="jac")
            x = found.x
        return found.cost

    return lambda: np.array([solve(face) for face in range(len(problem.points))])


def pair(parts: Callable, x: np.ndarray) -> tuple[Callable, np.ndarray, Callable]:
    """(residuals, start, Jacobian)."""
    return lambda x: parts(x)[0], x, lambda x: parts(x)[1]


def torch_problem(problem: Problem) -> dict:
    """float32 tensors."""
    import torch

    make = lambda array: torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32)  # noqa: E731
    return {
        "mean": make(problem.mean), "basis": make(problem.basis.reshape(len(problem.basis), -1)),
        "points": make(problem.points), "scale": make(problem.scale), "rotation": make(problem.rotation),
        "translation": make(problem.translation), "focal": float(problem.K[0, 0]), "centre": make(problem.K[:2, 2]),
    }  # fmt: skip


def functional_faces(problem: Problem) -> Callable[[], np.ndarray]:
    import torch
    from torch.func import jacfwd, vmap

    t = torch_problem(problem)

    def residuals(x, points, scale, rotation):
        """x: turn (never exactly zero), translation, coefficients."""
        local = t["mean"] + (x[6:] @ t["basis"][: len(x) - 6]).reshape(POINTS, 3)
        camera = local @ (rotation_from_vector(x[:3] + 1e-6) @ rotation).T + x[3:6]
        pixels = t["focal"] * camera[:, :2] / camera[:, 2:] + t["centre"]
        return torch.cat([(scale * (pixels - points)).flatten(), x[6:]])

    data = t["points"], t["scale"], t["rotation"]

    def run() -> np.ndarray:
        x = torch.cat([torch.zeros_like(t["translation"]), t["translation"]], 1)
        for coefficients in (0, len(t["basis"])):
            x = torch.cat([x, x.new_zeros(len(x), coefficients)], 1)
            damping = x.new_full((len(x),), 1e-3)
            error = vmap(residuals)(x, *data)
            for _ in range(STEPS):
                J = vmap(jacfwd(residuals))(x, *data)
                H, g = J.mT @ J, (J.mT @ error[..., None])
                added = damping[:, None] * H.diagonal(dim1=1, dim2=2)
                step = torch.linalg.solve(H + torch.diag_embed(added), g)[..., 0]
                new = vmap(residuals)(x - step, *data)
                better = (new**2).sum(1) < (error**2).sum(1)
                x = torch.where(better[:, None], x - step, x)
                error = torch.where(better[:, None], new, error)
                damping = torch.where(better, damping / 10, damping * 10).clamp(1e-7, 1e6)
        return 0.5 * (error**2).sum(1).numpy()

    return run


def theseus_faces(problem: Problem, *, autodiff: bool = False) -> Callable[[], np.ndarray]:
    import theseus as th
    import torch

    t, count = torch_problem(problem), len(problem.basis)

    class Reprojection(th.CostFunction):
        """Residuals and priors with the analytic Jacobian, in one dense cost."""

        def __init__(self, pose, coefficients, points, scale, weight, basis, name="reprojection"):
            super().__init__(weight, name=name)
            self.pose, self.points, self.scale, self.basis = pose, points, scale, basis
            self.register_optim_vars(["pose"])
            if len(basis):
                self.coefficients = coefficients
                self.register_optim_vars(["coefficients"])
            self.register_aux_vars(["points", "scale"])

        def dim(self):
            return 2 * POINTS + len(self.basis)

        def _camera(self):
            local = t["mean"].expand(len(self.pose.tensor), -1, -1)
            if len(self.basis):
                local = local + (self.coefficients.tensor @ self.basis).reshape(-1, POINTS, 3)
            rotation, shift = self.pose.tensor[..., :3], self.pose.tensor[..., 3]
            return local, rotation, local @ rotation.mT + shift[:, None]

        def _error(self, camera):
            pixels = t["focal"] * camera[..., :2] / camera[..., 2:] + t["centre"]
            own = (self.scale.tensor[..., None] * (pixels - self.points.tensor.reshape(pixels.shape))).flatten(1)
            return torch.cat([own, self.coefficients.tensor], 1) if len(self.basis) else own

        def error(self):
            return self._error(self._camera()[2])

        def jacobians(self):
            local, rotation, camera = self._camera()
            slope = t["focal"] * self.scale.tensor / camera[..., 2]
            rows = camera.new_zeros(*camera.shape[:2], 2, 3)
            rows[..., 0, 0] = rows[..., 1, 1] = slope
            rows[..., 2] = -slope[..., None] * camera[..., :2] / camera[..., 2:]
            turned = rows @ rotation[:, None]  # by the head's frame, in which Theseus' SE3 moves
            turn = torch.linalg.cross(local[:, :, None].expand_as(turned), turned, dim=-1)
            pose = torch.cat([turned, turn], -1).flatten(1, 2)
            if not len(self.basis):
                return [pose], self._error(camera)
            basis = self.basis.reshape(-1, POINTS, 3)
            by = torch.einsum("blac,klc->blak", turned, basis).flatten(1, 2)
            eye = torch.eye(len(basis)).expand(len(by), -1, -1)
            pose = torch.cat([pose, pose.new_zeros(len(pose), len(basis), 6)], 1)
            return [pose, torch.cat([by, eye], 1)], self._error(camera)

        def _copy_impl(self, new_name=None):
            parts = [self.pose.copy(), self.coefficients.copy() if len(self.basis) else None, self.points.copy()]
            return Reprojection(*parts, self.scale.copy(), self.weight.copy(), self.basis, name=new_name)

    def by_definition(basis, optim_vars, aux_vars):
        """The residuals, for Theseus to differentiate."""
        pose, (points, scale) = optim_vars[0].tensor, (variable.tensor for variable in aux_vars)
        local = t["mean"].expand(len(pose), -1, -1)
        if len(basis):
            local = local + (optim_vars[1].tensor @ basis).reshape(-1, POINTS, 3)
        camera = local @ pose[..., :3].mT + pose[..., None, :, 3]
        pixels = t["focal"] * camera[..., :2] / camera[..., 2:] + t["centre"]
        own = (scale[..., None] * (pixels - points.reshape(pixels.shape))).flatten(1)
        return torch.cat([own, optim_vars[1].tensor], 1) if len(basis) else own

    def stage(basis):
        pose = th.SE3(name="pose")
        coefficients = th.Vector(count, name="coefficients")
        points, scale = (
            th.Variable(t["points"].flatten(1), name="points"),
            th.Variable(t["scale"][:, None], name="scale"),
        )
        weight = th.ScaleCostWeight(torch.ones(1, 1))
        cost = Reprojection(pose, coefficients, points, scale, weight, basis)
        if autodiff:
            unknowns = [pose, coefficients] if len(basis) else [pose]
            cost = th.AutoDiffCostFunction(
                unknowns, partial(by_definition, basis), cost.dim(), cost_weight=weight, aux_vars=[points, scale],
                autograd_mode="vmap",
            )  # fmt: skip
        objective = th.Objective()
        objective.add(cost)
        optimizer = th.LevenbergMarquardt(
            objective, linear_solver_cls=th.CholeskyDenseSolver, vectorize=False, max_iterations=STEPS, step_size=1.0
        )
        return th.TheseusLayer(optimizer, vectorize=False)

    layers = stage(t["basis"][:0]), stage(t["basis"])

    def run() -> np.ndarray:
        poses = torch.cat([t["rotation"], t["translation"][..., None]], -1)
        inputs = {"pose": poses, "points": t["points"].flatten(1), "scale": t["scale"][:, None]}
        options = {"damping": 1e-3, "adaptive_damping": True, "ellipsoidal_damping": True}
        with torch.no_grad():
            found, _ = layers[0].forward(inputs, optimizer_kwargs=options)
            inputs |= {"pose": found["pose"], "coefficients": torch.zeros(len(poses), count)}
            found, info = layers[1].forward(inputs, optimizer_kwargs=options)
        return info.last_err.numpy()

    return run
