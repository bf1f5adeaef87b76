"""One progress line on stderr: step, loss, samples a second, time left."""

import sys
import time


class Progress:
    """Rewrites its line on a terminal; elsewhere prints one now and then."""

    def __init__(self, steps: int, first: int, batch: int):
        self.steps, self.first, self.step, self.batch = steps, first, first, batch
        self.interactive = sys.stderr.isatty()
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_error: object) -> None:
        if self.interactive:
            print(file=sys.stderr)

    def advance(self, losses: dict[str, float]) -> None:
        """Counts a step; shows the line when it is due."""
        self.step += 1
        now = time.monotonic()
        if now - self._shown < (0.5 if self.interactive else 20) and self.step != self.steps:
            return
        self._shown = now
        rate = (self.step - self.first) / (now - self._started)
        left = (self.steps - self.step) / rate
        shown = "  ".join(f"{name} {value:.4g}" for name, value in losses.items())
        line = f"step {self.step}/{self.steps}  {rate * self.batch:.0f} samples/s  {clock(left)} left  {shown}"
        print(
            f"\r\x1b[K{line}" if self.interactive else line,
            end="" if self.interactive else "\n",
            file=sys.stderr,
        )
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """h:mm:ss."""
    minutes = int(seconds // 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{int(seconds % 60):02d}"
