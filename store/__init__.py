"""Results database, its mirror in MLflow, and what the frontier is; knows trials, not Ray.

What the store promises, to whoever runs sweeps and whoever reads their numbers:

**A trial ends once.** Its identity is a hash of everything that can change its numbers. It is
planned (no state), and then ``failed`` or ``finished``. A failed one may be run again by the next
run of a sweep that plans it; finished is final, and a second result for it is dropped. Every
attempt that ended is kept beside the state, with its cause.

**A result is whole.** Attempt, numbers, outcomes per example, timing and the notes for MLflow are
one transaction. A driver counts a trial only once that transaction is committed, and keeps the
result until then.

**One driver measures it.** Before work is handed to a worker it is leased
(:mod:`store.sql.leases`), for all drivers that share the database, whatever their sweeps are
called. Leases are inserted, and expired ones deleted, only if nobody was faster; no clock enters. A
lease that is lost wrongly costs work, never a number: the state of the trial decides what is kept.

==================  ==================================  ========================================
Written             By                                  When
==================  ==================================  ========================================
plan, trials        the driver, at its start            in one transaction, before any trial runs
leases, beat        the driver, for itself alone        before work is handed out, every 4 s
expired leases      any driver (compare and set)        30 s without a beat; at once if its process
                                                        is known to be gone
attempts, states,   the writer of the driver            when a trial has ended
numbers, outcomes
timings             the writer of the driver            when a timing has ended; repetitions stay
notes for MLflow    whoever writes what they are about  in the same transaction
runs in MLflow      one process at a time (a lock)      later, in the order of the notes
==================  ==================================  ========================================

What survives which death (``kill -9``), each of them played in ``tests/torture``:

* a worker, or its node: everything durable; its trials are queued again and run elsewhere.
* the writer: everything; it is started again and given the same results once more.
* the driver: everything durable. The next run finds it dead, runs again what was in flight and
  completes what MLflow was not told.
* the database server: everything committed. Whoever needs it waits, for ten minutes at most, and
  says so; results are kept meanwhile.
* a full disk: everything committed. The run ends in one sentence; the same command goes on.
* MLflow's server: it only reads. Runs are made through the database, and one that was being made
  when its maker died is found again by its tags, so that a trial has one run in each sweep.

A crash of the whole machine is a death of all of them at once; what it may take of a SQLite file is
said in :mod:`store.database`.
"""
