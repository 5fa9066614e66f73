"""The loop of a run: hands items out, waits, writes down what came of them.

An item is handed out when a worker is idle, so that as many pictures are in memory as there are workers.  What a worker
has died with goes to the end of the list; the second time it is set aside.  Results on a shared folder are published by
the worker; others come in pieces while the worker goes on with the next item.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from ..launcher.settings import LaunchError
from . import graphs, identity, results
from .items import Item
from .journal import Journal
from .pools import Event
from .state import Counts, Finished, Hand, Job

MOST_KILLED = 2  # workers that one item may end
MOST_LOST = 12  # attempts that end with a machine, which is not the item's fault, before it is given up
MOST_FETCHES = 2  # results of one worker that wait to be fetched; it gets no new item meanwhile
MOST_DEATHS = 6  # of one worker in a row, without one item in between
MOST_REFUSED = 3  # starts of a worker that end in an error
LARGEST_PICTURE = 2**29  # bytes


class Driver:
    """One run.  identity: what this machine runs (code, commit, weights; weights may be unknown: None).

    mark: name of a file in ``run`` by which workers see that they share it, "" to have results sent.
    """

    def __init__(self, items: list[Item], prompt: dict, caption: str, run: Path, pool, mine: dict, mark: str,
                 retry: bool = False, take_over: bool = False):
        self.prompt, self.caption, self.run_folder, self.pool, self.mine, self.mark = prompt, caption, run, pool, mine, mark
        self.todo: deque[tuple[int, Item]] = deque(enumerate(items))
        self.again: deque[Job] = deque()
        self.twins: dict[str, list[Item]] = {}  # of this run's items: key -> others that wait for the first of that key
        self.ends: dict[str, tuple[str, str, str]] = {}  # key -> first item's name, status, error
        self.lost: dict[str, int] = {}  # attempts that nobody is to blame for
        self.hands: dict[int, Hand] = {}
        self.counts, self.retry = Counts(len(items)), retry
        self.journal = Journal(run, len(items), take_over)
        self.news: deque[Finished] = deque()
        self.notes: deque[str] = deque()  # sentences for the person: workers refused, machines gone
        results.sweep(run, mark)

    def run(self) -> Iterator[Finished | None]:
        """Finished items as they come, and None about once a second; the pool must not be started."""
        why = "error"
        try:
            if self.mine["weights"] is not None:
                yield from self._skip_done()
            if self.todo or self.again:
                self._begin(self.pool.start())
                yield from self._loop()
            why = "finished"
        except (KeyboardInterrupt, GeneratorExit):
            why = "stopped"
            raise
        finally:
            self._end(why)

    def _loop(self) -> Iterator[Finished | None]:
        while True:
            began = time.perf_counter()
            self._hand_out()
            self.journal.commit()
            self.counts.spent += time.perf_counter() - began
            while self.news:
                yield self.news.popleft()
            if not (self.todo or self.again or any(hand.job or hand.fetching for hand in self.hands.values())):
                return
            if all(hand.state == "gone" for hand in self.hands.values()):
                raise LaunchError("no worker is left: " + (self.notes[-1] if self.notes else "all have ended"))
            scanning = self.todo and any(hand.state == "idle" for hand in self.hands.values())
            events = self.pool.wait(0.0 if scanning else 1.0)
            began = time.perf_counter()
            for event in events:
                self._take(event)
            self.journal.beat()
            self._begin(self.pool.more())
            self.counts.spent += time.perf_counter() - began
            if not events:
                yield None

    def _begin(self, numbers: list[int]) -> None:
        for number in numbers:
            self.hands[number] = Hand(since=time.monotonic())
            self.pool.ask(number, "prepare")

    def _skip_done(self) -> Iterator[Finished | None]:
        """Before workers start: so that a finished run starts none.  Ends at the first item that is open."""
        while self.todo:
            job = self._next()
            if job is not None:
                self.again.appendleft(job)
                return
            while self.news:
                yield self.news.popleft()

    # -- handing out

    def _hand_out(self) -> None:
        for number, hand in self.hands.items():
            if hand.state != "idle" or hand.job or len(hand.fetching) >= MOST_FETCHES:
                continue
            job = self._next()
            if job is None:
                return
            self.journal.add("sent", k=job.key, n=job.item.name, w=number)
            self.journal.commit()  # what was begun is known, whatever ends
            hand.job, hand.state, hand.since = job, "works", time.monotonic()
            self.pool.ask(number, "run", job.header, job.picture)

    def _next(self) -> Job | None:
        """The next item that is open; finished, broken and double ones are told on the way."""
        if self.again and (not self.todo or self.again[0].place < self.todo[0][0]):
            return self.again.popleft()
        while self.todo:
            place, item = self.todo.popleft()
            try:
                job = self._prepared(place, item)
            except (OSError, LaunchError) as problem:
                self._failed(item, hashlib.sha256(item.name.encode()).hexdigest(), _plain(problem, item))
                continue
            if job is not None:
                return job
            if len(self.news) > 100:
                break
        return self.again.popleft() if self.again and not self.todo else None

    def _prepared(self, place: int, item: Item) -> Job | None:
        picture, name = b"", ""
        if item.picture is not None:
            if item.picture.stat().st_size > LARGEST_PICTURE:
                raise LaunchError(f"more than {LARGEST_PICTURE >> 20} MB")
            picture = item.picture.read_bytes()
            name = f"lift123/{hashlib.sha256(picture).hexdigest()[:24]}{item.picture.suffix.lower()}"
        prompt = graphs.prompt_of(self.prompt, item, name, self.caption)
        key = graphs.key_of(prompt, self.mine["weights"] or {})
        if key in self.twins:  # the same picture and settings as an earlier item: one result for both
            if key not in self.ends:
                self.twins[key].append(item)
                return None
            name, status, error = self.ends[key]
            files = results.done(self.run_folder, name, key)
            self._tell(item, key, "already done" if files else status, files, f"{error} (the same work as {name})".strip())
            return None
        self.twins[key] = []
        if results.done(self.run_folder, item.name, key) is not None:
            if key in self.journal.open:  # the last driver ended between the result and its line
                self.journal.add("done", k=key, n=item.name, seconds=0.0, host="")
            self._tell(item, key, "already done", self._files(item, key))
            return None
        if key in self.journal.aside and not self.retry:
            self._tell(item, key, "set aside", error=self._why_aside(item, key))
            return None
        if self.retry:
            self.journal.add("retry", k=key)
        batch = {"item": item.name, "value": item.shown, "key": key}
        header = {"key": key, "name": item.name, "prompt": prompt, "picture": name, "mark": self.mark, "batch": batch,
                  "run": str(self.run_folder) if self.mark else ""}
        return Job(item, key, json.dumps(header).encode(), picture, place)

    def _files(self, item: Item, key: str) -> list[Path]:
        return results.done(self.run_folder, item.name, key) or []

    def _why_aside(self, item: Item, key: str) -> str:
        try:
            return json.loads(results.failure_file(self.run_folder, item.name, key).read_text(encoding="utf-8"))["error"]
        except (OSError, ValueError, KeyError):
            return "set aside earlier; --retry tries it again"

    # -- what comes back

    def _take(self, event: Event) -> None:
        hand = self.hands[event.worker]
        if event.died:
            self._died(event, hand)
        elif event.call == "prepare":
            self._prepared_worker(event, hand)
        elif event.call == "run":
            self._answered(event.worker, hand, json.loads(event.data))
        elif event.call == "piece":
            self._piece(event.worker, hand, event.data)

    def _prepared_worker(self, event: Event, hand: Hand) -> None:
        told = json.loads(event.data)
        problem = told.get("error", "")
        if not problem:
            hand.host = f"{told['host']} ({told['pid']})"
            if self.mine["weights"] is None:  # this machine has none: the first worker says what all must have
                self.mine["weights"] = told["weights"]
            problem = identity.difference(self.mine, told)
            hand.state, hand.since = ("gone" if problem else "idle"), time.monotonic()
            if problem:
                self.notes.append(f"worker {event.worker} on {told['host']} is left out: {problem}")
            return
        hand.refused += 1
        if hand.refused < MOST_REFUSED:
            self.pool.ask(event.worker, "prepare")
        else:
            hand.state = "gone"
            self.notes.append(f"worker {event.worker} is given up: {problem}")

    def _answered(self, number: int, hand: Hand, told: dict) -> None:
        job, hand.job, hand.state, hand.since = hand.job, None, "idle", time.monotonic()
        assert job is not None
        hand.deaths, status = 0, told["status"]
        self.counts.memory = max(self.counts.memory, told.get("memory", 0.0))
        job.facts = {"seconds": told["seconds"], "host": told["host"]}
        if status == "done" and told["published"]:
            self._done(job)
        elif status == "done":
            try:
                job.incoming = results.Incoming(self.run_folder, job.key, told["files"])
            except (LaunchError, OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
                self._failed(job.item, job.key, f"its result can't be taken: {problem}", job.facts)
                return
            job.facts["facts"] = told.get("facts", {})
            hand.fetching[job.key] = job
            self._ask_piece(number, hand)
        elif status == "failed":
            self._failed(job.item, job.key, told["error"], job.facts)
        else:
            self._lost(job, told["error"], bool(told.get("counts")), number)

    def _ask_piece(self, number: int, hand: Hand) -> None:
        """One piece at a time and worker is on its way; finished results are published."""
        while hand.fetching and not hand.asking:
            key, job = next(iter(hand.fetching.items()))
            assert job.incoming is not None
            wanted = job.incoming.next()
            if wanted is not None:
                hand.asking = key
                self.pool.ask(number, "piece", key, *wanted)
                return
            del hand.fetching[key]
            self._publish(job)
            self.pool.ask(number, "forget", key)

    def _publish(self, job: Job) -> None:
        assert job.incoming is not None
        try:
            results.publish(self.run_folder, job.item.name, job.key, job.facts.get("facts", {}), job.incoming.fill)
            self._done(job)
        except LaunchError as problem:  # damaged on the way
            self._lost(job, str(problem), False, -1)
        finally:
            job.incoming.drop()

    def _piece(self, number: int, hand: Hand, data: bytes) -> None:
        key, hand.asking = hand.asking, ""
        job = hand.fetching[key]
        assert job.incoming is not None
        try:
            job.incoming.take(data)
        except LaunchError as problem:
            del hand.fetching[key]
            job.incoming.drop()
            self._lost(job, str(problem), False, number)
        self._ask_piece(number, hand)

    def _died(self, event: Event, hand: Hand) -> None:
        """Ray starts it anew by itself; whatever it had goes back into the list."""
        self._drop_fetches(event, hand)
        if event.call in ("piece", "forget"):
            hand.asking = ""
            if hand.state != "idle":  # what it worked on is told by a call of its own
                return
        job, hand.job = hand.job, None
        hand.deaths += 1
        if job is not None:
            self._lost(job, f"its worker ended ({event.died})", not event.preempted, event.worker)
        if hand.deaths > MOST_DEATHS:
            hand.state = "gone"
            self.notes.append(f"worker {event.worker} is given up after {hand.deaths} ends in a row: {event.died}")
            return
        hand.state, hand.since = "starts", time.monotonic()
        if event.call == "prepare":  # Ray has not brought it back
            self.pool.renew(event.worker)
        self.pool.ask(event.worker, "prepare")

    def _drop_fetches(self, event: Event, hand: Hand) -> None:
        for job in hand.fetching.values():
            if job.incoming is not None:
                job.incoming.drop()
                job.incoming = None
            self._lost(job, f"its worker ended before the result was fetched ({event.died})", False, event.worker)
        hand.fetching.clear()

    # -- what is written down

    def _done(self, job: Job) -> None:
        self.journal.add("done", k=job.key, n=job.item.name, seconds=job.facts["seconds"], host=job.facts["host"])
        results.failure_file(self.run_folder, job.item.name, job.key).unlink(missing_ok=True)
        self.counts.worked += 1
        self._tell(job.item, job.key, "done", self._files(job.item, job.key), "", job.facts)

    def _failed(self, item: Item, key: str, error: str, facts: dict | None = None, aside: bool = False) -> None:
        self.journal.add("aside" if aside else "failed", k=key, n=item.name, error=error)
        results.record_failure(self.run_folder, item.name, key, error, item.shown, aside)
        self.counts.worked += 1
        self._tell(item, key, "set aside" if aside else "failed", [], error, facts)

    def _tell(self, item: Item, key: str, status: str, files: list[Path] | None = None, error: str = "",
              facts: dict | None = None) -> None:
        """Counts and announces an item, and those that are the same work."""
        facts = facts or {}
        good = status in ("done", "already done")
        for one in [item, *self.twins.get(key, [])]:
            self.counts.done, self.counts.failed = self.counts.done + good, self.counts.failed + (not good)
            self.counts.skipped += status == "already done" or (good and one is not item)
            word = status if one is item or not good else "already done"
            note = error if one is item else f"{error} (the same work as {item.name})".strip()
            self.news.append(Finished(one.name, one.shown, word, key, files or [], note, facts.get("seconds", 0.0),
                                      facts.get("host", "")))
        self.ends.setdefault(key, (item.name, status, error))
        self.twins[key] = []

    def _lost(self, job: Job, why: str, counts: bool, worker: int) -> None:
        if results.done(self.run_folder, job.item.name, job.key) is not None:  # published, and then the worker ended
            job.facts = job.facts or {"seconds": 0.0, "host": ""}
            self._done(job)
            return
        self.journal.add("lost", k=job.key, n=job.item.name, w=worker, why=why, counts=counts)
        self.lost[job.key] = self.lost.get(job.key, 0) + (not counts)
        killed = self.journal.lost[job.key]
        if killed >= MOST_KILLED or self.lost[job.key] >= MOST_LOST:
            text = (f"set aside: {killed} workers ended while they worked on it; the last one: {why}. --retry tries it again"
                    if killed >= MOST_KILLED else f"given up after {self.lost[job.key]} attempts that were lost: {why}")
            self._failed(job.item, job.key, text, job.facts, aside=True)
            return
        job.place, job.incoming = self.counts.total + job.place, None  # behind all others
        self.again.append(job)

    def _end(self, why: str) -> None:
        for hand in self.hands.values():
            for job in [*([hand.job] if hand.job else []), *hand.fetching.values()]:
                self.journal.add("withdrawn", k=job.key, n=job.item.name)
                if job.incoming is not None:
                    job.incoming.drop()
        try:
            self.pool.close()
        finally:
            if self.journal.held():
                results.sweep(self.run_folder)  # also what a worker had begun to publish when it was killed
            elif self.mark:  # all else is another driver's now
                (self.run_folder / self.mark).unlink(missing_ok=True)
            self.journal.close(why)


def _plain(problem: Exception, item: Item) -> str:
    """An error without this machine's paths: records are shared."""
    if isinstance(problem, FileNotFoundError):
        return f"there is no picture {item.picture.name if item.picture else item.shown}"
    return problem.strerror or type(problem).__name__ if isinstance(problem, OSError) else str(problem)
