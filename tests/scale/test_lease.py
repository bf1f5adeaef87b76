"""The lease of a run in an object store, with a store that fails and a clock that is moved by hand."""

import json

import pytest

from facelift.scale import guard
from facelift.scale.guard import BEAT_S, LEASE, Lease, only_run
from facelift.scale.store import Store


class FakeStore(Store):
    """Files in memory; `down`: how many calls will fail."""

    folder = None

    def __init__(self):
        self.files, self.down = {}, 0

    def __str__(self):
        return "fake://out"

    def _fail(self):
        if self.down > 0:
            self.down -= 1
            raise ConnectionError("no answer")

    def exists(self, name):
        self._fail()
        return name in self.files

    def read(self, name):
        self._fail()
        return self.files[name]

    def write(self, name, content):
        self._fail()
        self.files[name] = content

    def remove(self, name):
        self._fail()
        del self.files[name]


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(guard.time, "time", lambda: now[0])
    return now


@pytest.fixture
def store():
    return FakeStore()


def held(store):
    return json.loads(store.files[LEASE])


def stolen(store, clock):
    store.files[LEASE] = json.dumps({"owner": "b", "host": "h", "pid": 7, "time": clock[0]}).encode()


def test_a_store_that_does_not_answer_for_a_while_is_asked_again(store, clock):
    (lease := Lease(store)).take()
    clock[0] += BEAT_S
    store.down = 1
    lease.beat()
    lease.check()
    assert held(store)["time"] == 1000
    clock[0] += BEAT_S / 4
    lease.beat()
    assert held(store)["time"] == clock[0] and not lease.lost


def test_a_store_that_is_gone_for_long_ends_the_run_before_another_may_start(store, clock):
    (lease := Lease(store)).take()
    store.down = 10**6
    while not lease.lost:
        clock[0] += BEAT_S / 4
        lease.beat()
    assert clock[0] - held(store)["time"] < 4 * BEAT_S
    with pytest.raises(ValueError, match=r"fake://out: expected to keep the lease .*, found it lost: not renewed for"):
        lease.check()


def test_a_lease_that_another_run_has_taken_is_neither_renewed_nor_removed(store, clock):
    with only_run(store) as hold:
        hold.check()
        stolen(store, clock)
        hold.check()  # not asked for every shard
        clock[0] += 2.1 * BEAT_S  # this machine has slept
        with pytest.raises(ValueError, match="found it lost: another run has taken it over"):
            hold.check()
        assert held(store)["owner"] == "b"
    assert held(store)["owner"] == "b"


def test_a_run_that_overslept_goes_on_where_nobody_came(store, clock):
    with only_run(store) as hold:
        clock[0] += 100 * BEAT_S
        hold.check()
        assert held(store)["time"] == clock[0]
    assert LEASE not in store.files


def test_the_thread_lives_through_failures(store, monkeypatch):
    """In real time: beats of 0.5 s, the first of which fails."""
    monkeypatch.setattr(guard, "BEAT_S", 0.5)
    with only_run(store) as hold:
        first = held(store)["time"]
        store.down = 1
        deadline = guard.time.monotonic() + 30
        while held(store)["time"] == first:
            assert guard.time.monotonic() < deadline
            guard.time.sleep(0.05)
        assert not hold.lost and store.down == 0


def test_a_store_that_fails_at_the_end_does_not_hide_what_was_done(store):
    with only_run(store):
        store.down = 10**6


def test_shards_are_not_written_without_the_lease(clock):
    pytest.importorskip("fsspec")
    import uuid

    from test_folder import SETTINGS, content, open_folder

    folder = open_folder(f"memory://{uuid.uuid4().hex}/out")
    with pytest.raises(ValueError, match="found it lost: another run"), folder.run(SETTINGS, {}):
        assert folder.write("lift-00000.tar", content(4), 4)
        before = folder.store.read("index.json")
        folder.store.write(LEASE, json.dumps({"owner": "b", "host": "h", "pid": 7, "time": clock[0] + 50}).encode())
        clock[0] += 50
        folder.write("lift-00001.tar", content(4), 4)
    assert "lift-00001.tar" not in folder.store.sizes() and folder.store.read("index.json") == before
