"""Every engine gives the same, in order; what fails is named, who dies is replaced."""

from functools import partial

import numpy as np
import pytest
import steps
from steps import TEXT, WORK_S, double, load_fatal, load_nothing

from facelift.scale.dashboard import Dashboard
from facelift.scale.engine import Engine, RayConfig
from facelift.scale.stages import Clock, Passage, Stage

NUMBERS = [5, 3, 13, 8, 1, 0, 7]


def check(passages):
    passages = list(passages)
    assert [p.number for p in passages] == list(range(7))
    assert [p.value for p in passages] == ["<10>", "<6>", None, "<16>", "<2>", "<0>", "<14>"]
    assert [p.error for p in passages if p.error] == ["double: thirteen: expected another number"]
    for passage in passages:
        if not passage.error:
            busy = passage.clock.busy
            assert busy["double"] >= WORK_S and busy["ink"] >= WORK_S / 4 and busy["text"] < busy["double"]
            assert set(passage.clock.waited) == {"text"}


@pytest.mark.parametrize("workers", [1, 2])
def test_items_come_out_in_order_and_models_are_loaded_once_a_worker(tmp_path, workers):
    check(Engine(workers=workers).run([double(tmp_path), TEXT], NUMBERS))
    assert 1 <= len(list(tmp_path.iterdir())) <= workers


@pytest.mark.slow
def test_ray_gives_the_same(tmp_path):
    pytest.importorskip("ray").cloudpickle.register_pickle_by_value(steps)
    check(Engine("ray", 2).run([double(), TEXT], NUMBERS))
    with pytest.raises(FileNotFoundError, match="expected weights"):
        list(Engine("ray", 2).run([Stage("load", load_nothing)], NUMBERS))


@pytest.mark.slow
@pytest.mark.parametrize("always", [False, True])
def test_an_actor_that_dies_is_replaced_and_its_item_done_again_or_given_up(tmp_path, always):
    pytest.importorskip("ray").cloudpickle.register_pickle_by_value(steps)
    stage = Stage("fatal", partial(load_fatal, tmp_path, always))
    passages = list(Engine("ray", 2).run([stage, TEXT], list(range(6))))
    assert [p.value for p in passages] == ["<0>", "<1>", "<2>", None if always else "<3>", "<4>", "<5>"]
    assert [p.number for p in passages] == list(range(6))
    assert [p.error for p in passages if p.error] == ["2 actors died on it, or what they made was lost"] * always
    assert [p.number for p in passages if p.again] == [3] * always


@pytest.mark.parametrize("always", [False, True])
def test_a_worker_that_dies_is_replaced_and_its_item_done_again_or_given_up(tmp_path, always):
    stage = Stage("fatal", partial(load_fatal, tmp_path, always))
    passages = list(Engine(workers=2).run([stage], list(range(6))))
    assert [p.value for p in passages] == [0, 1, 2, None if always else 3, 4, 5]
    assert passages[3].error == ("a worker process died on it (exit code -9)" if always else "")
    assert [p.number for p in passages if p.again] == [3] * always


def load_broken(error):
    def broken(number, clock):
        raise error

    return broken


@pytest.mark.parametrize(
    ("error", "again"), [(MemoryError("full"), True), (OSError(5, "gone"), True), (ValueError("bad"), False)]
)
def test_failures_of_the_machine_are_told_from_those_of_an_item(error, again):
    (passage,) = Engine(workers=1).run([Stage("broken", partial(load_broken, error))], [1])
    assert passage.error.startswith("broken: ") and passage.again is again


@pytest.mark.parametrize("workers", [1, 2])
def test_models_that_do_not_load_end_the_run(workers):
    with pytest.raises(FileNotFoundError, match=r"weights\.onnx: expected weights, found nothing"):
        list(Engine(workers=workers).run([Stage("load", load_nothing)], [1, 2]))


def test_numbers_that_make_no_sense():
    with pytest.raises(ValueError, match=r"--workers: expected 0 \(one a core\) or more, found -1"):
        Engine(workers=-1)
    with pytest.raises(ValueError, match=r"--ray\.gpus: expected 0 or more, found -1"):
        RayConfig(gpus=-1)
    assert Engine(workers=8).count(3) == 3 and Engine().count(1000) >= 1 and Engine().count(0) == 1


def test_the_dashboard_says_who_holds_the_others_up(monkeypatch, capsys):
    """10 items in 100 s, by two workers: 15 s of rendering each, 2 of detecting; 9 s of writing; 30 s of waiting."""
    now = [0.0]
    monkeypatch.setattr("facelift.scale.dashboard.time.monotonic", lambda: now[0])
    board = Dashboard("faces", 40, 2, ("render", "detect"), here=("write",))
    clock = Clock(busy={"render": 15.0, "detect": 2.0}, waited={"detect": 30.0})
    passages = [Passage(i, None, clock=clock) for i in range(9)] + [
        Passage(9, None, "render: seed 9: found a hole", clock)
    ]
    list(board.watch(passages))
    board._busy["write"] = 90.0
    now[0] = 100.0
    assert board.busy() == pytest.approx({"render": 0.75, "detect": 0.1, "write": 0.9})
    assert board.queues() == pytest.approx({"detect": 3.0})
    progress, render, detect, write = board.lines()
    assert progress == "10/40 faces  0.1/s  0:05:00 left  failed 1"
    assert "75 % busy" in render and "15.000 s each" in render and "holds" not in render
    assert "queue    3.0" in detect and "90 % busy" in write and write.endswith("<- holds the others up")
    np.testing.assert_allclose(board.rate(), 0.1)
