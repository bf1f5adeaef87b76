"""Speed of fitting a head to 1,609 points: ours, SciPy's least_squares and a library's Levenberg-Marquardt.

    python benchmarks/bench_fitting.py [--faces 32] [--points 1609] [--repeats 5] [--threads 1 2]

A head of smooth random offsets, 100 + 100 coefficients and a pose; exact points of random faces with 1 px of noise,
from a start 20 degrees off. All minimise the same cost: squared residuals of the 1,609 points in deviations of 1 % of
the face, and squared coefficients. At most 20 rigid steps and 20 of everything.

ours          batch of --faces, float32; and with every step taken (`forced`), however little it promises
SciPy         least_squares (trf) with the analytic Jacobian, one face at a time, float64: 20 and 20 evaluations
Theseus       its dense Levenberg-Marquardt, if installed (docs/fitting.md): with an analytic Jacobian that is written
              for this problem, and with the residuals alone, which it differentiates itself (`autodiff`, mode vmap)
torch.func    20 lines of Levenberg-Marquardt with Jacobians by torch.func.jacfwd and a dense solve

Each row is one process with its threads. Median and spread of the repeats; CPU: time of all threads together, which
says more on a machine that others use; largest memory beyond that at the start; cost of the first face.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

POINTS = int(os.environ.get("BENCH_POINTS", "1609"))
SHAPES, EXPRESSIONS = 100, 100
STEPS = 20
SOLVERS = ("ours", "ours, forced", "SciPy", "Theseus", "Theseus, autodiff", "torch.func")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=SOLVERS)
    parser.add_argument("--library-faces", type=int, default=None, help="batch of the library, if it does not fit")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        solver, faces, repeats = arguments.row
        print(json.dumps(measure(solver, int(faces), int(repeats))))
        return
    rows = {}
    print(f"commit {commit()}, {cpu()}, {os.cpu_count()} cores; ms a face")
    columns = (
        ("threads", 7),
        ("faces", 6),
        ("median", 9),
        ("fastest .. slowest", 21),
        ("CPU", 8),
        ("MiB", 5),
        ("cost", 8),
    )
    print(" " * 17, *(f"{name:>{width}}" for name, width in columns))
    for threads in arguments.threads:
        for solver in arguments.solvers:
            count = {"SciPy": 1}.get(solver, arguments.faces)
            if solver in ("Theseus, autodiff", "torch.func"):
                count = arguments.library_faces or arguments.faces
            repeats = arguments.repeats if solver.startswith("ours") else min(arguments.repeats, 3)
            row = in_process(solver, count, repeats, threads, arguments.points)
            if row is None:
                print(f"{solver:17} {threads:7}  not installed")
                continue
            rows[f"{solver}, {threads}"] = row
            spread = f"{row['ms'][0]:.1f} .. {row['ms'][-1]:.1f}"
            print(
                f"{solver:17} {threads:7} {count:6} {row['median']:9.1f}  {spread:>20} {row['cpu_ms']:8.1f} "
                f"{row['mib']:5.0f} {row['cost']:8.2f}",
                flush=True,
            )
    for threads in arguments.threads:
        own = rows.get(f"ours, {threads}")
        for solver in arguments.solvers:
            other = rows.get(f"{solver}, {threads}")
            if own and other and not solver.startswith("ours"):
                wall, cpu_time = other["median"] / own["median"], other["cpu_ms"] / own["cpu_ms"]
                print(f"{threads} threads: {wall:.0f} times as fast as {solver}, by CPU time {cpu_time:.0f} times")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))
        print(arguments.json)


def in_process(solver: str, faces: int, repeats: int, threads: int, points: int) -> dict | None:
    """One row, measured in a process of its own; None where the library is not installed."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), BENCH_POINTS=str(points))
    command = [sys.executable, __file__, "--row", solver, str(faces), str(repeats)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{solver}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class SmoothHead:
    """A model of plane waves over half an ellipsoid, in the size of a head (unit: 36 cm)."""

    def __init__(self) -> None:
        from facelift.morphable.skinned import UNLIMITED, SkinnedModel, no_joints

        rng = np.random.default_rng(5)
        golden = np.pi * (3 - np.sqrt(5)) * np.arange(POINTS)
        z = 1 - np.arange(POINTS) / POINTS
        ring = np.sqrt(1 - z**2)
        mean = np.stack([ring * np.cos(golden), ring * np.sin(golden), z], -1) * [0.21, 0.3, 0.25]
        count = SHAPES + EXPRESSIONS
        waves = np.sin(mean @ rng.normal(0, 12, (3, count)) + rng.uniform(0, 6, count))
        direction = rng.standard_normal((count, 3))
        size = 0.008 / np.sqrt(1 + np.arange(count) % SHAPES)
        basis = waves.T[..., None] * (size[:, None] * direction / np.linalg.norm(direction, axis=1)[:, None])[:, None]
        self.model = SkinnedModel(
            mean=mean.astype(np.float32),
            shape=basis[:SHAPES].astype(np.float32),
            expression=basis[SHAPES:].astype(np.float32),
            faces=np.zeros((0, 3), np.int32),
            joints=no_joints(POINTS),
            correctives=None,
            landmarks={},
            coefficient_mean=np.zeros(count, np.float32),
            coefficient_std=np.ones(count, np.float32),
            limits=np.tile(UNLIMITED, (count, 1)),
            name="smooth",
            sources=(),
        )


class Problem:
    """Points of random faces and where fits start."""

    def __init__(self, faces: int):
        from facelift.fitting.fit import photo_camera
        from facelift.fitting.observed import face_size
        from facelift.geometry import project, rotation_from_euler, rotation_from_vector

        self.model, rng = SmoothHead().model, np.random.default_rng(6)
        self.K = photo_camera(512, 512)
        angles = rng.uniform([-15, -30, -15], [15, 30, 15], (faces, 3))
        rotation = np.stack([rotation_from_euler(angle) for angle in angles])
        translation = np.stack([*rng.uniform(-0.2, 0.2, (2, faces)), rng.uniform(1.2, 2, faces)], -1)
        mesh = self.model.vertices(rng.standard_normal((faces, SHAPES)), rng.standard_normal((faces, EXPRESSIONS)))
        points = project(mesh, rotation, translation, np.broadcast_to(self.K, (faces, 3, 3)))
        self.points = points + rng.normal(0, 1, points.shape)
        axes = rng.standard_normal((faces, 3))
        axes *= np.radians(20) / np.linalg.norm(axes, axis=1, keepdims=True)
        self.rotation, self.translation = rotation_from_vector(axes) @ rotation, translation * [1, 1, 1.2]
        seen = np.ones(POINTS, bool)
        self.scale = 1 / (0.01 * np.array([face_size(face, seen) for face in self.points]))
        """Deviations a px."""
        self.mean = self.model.mean.astype(np.float64)
        self.basis = np.concatenate([self.model.shape, self.model.expression]).astype(np.float64)


def measure(solver: str, faces: int, repeats: int) -> dict | None:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    problem = Problem(faces)
    try:
        run = {
            "ours": ours, "ours, forced": forced, "SciPy": scipy_faces, "Theseus": theseus_faces,
            "Theseus, autodiff": partial(theseus_faces, autodiff=True), "torch.func": functional_faces,
        }[solver](problem)  # fmt: skip
    except ImportError:
        return None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if solver.startswith("ours"):
        run()
    times, busy, cost = [], [], np.zeros(1)
    for _ in range(repeats):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        cost = run()
        times.append((time.perf_counter() - begin) / faces * 1e3)
        busy.append((time.process_time() - begin_cpu) / faces * 1e3)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "ms": sorted(times),
        "median": float(np.median(times)),
        "cpu_ms": float(np.median(busy)),
        "mib": used / 1024,
        "cost": float(cost[0]),
    }


def ours(problem: Problem, **changes: float) -> Callable[[], np.ndarray]:
    from facelift.fitting.config import FitConfig
    from facelift.fitting.fit import fit_heads
    from facelift.fitting.head import SkinnedHead

    head = SkinnedHead(problem.model, np.arange(POINTS))
    config = FitConfig(**changes)  # type: ignore[arg-type]
    start = problem.rotation, problem.translation
    return lambda: fit_heads(head, problem.points, None, problem.K, start=start, config=config).cost


def forced(problem: Problem) -> Callable[[], np.ndarray]:
    return ours(problem, tolerance=0)


def residuals_and_jacobian(
    problem: Problem, face: int, rotation: np.ndarray, coefficients: int, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the unknowns turn, translation, coefficients, in NumPy; turns about the head's origin."""
    from facelift.geometry import rotation_from_vector

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
    from facelift.geometry import cross_matrix

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

    from facelift.geometry import rotation_from_vector

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


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


if __name__ == "__main__":
    main()
