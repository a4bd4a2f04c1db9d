"""From a frontier to traffic: frozen, passed through a gate, proven on a share, taken over.

Read ``store.releases.line`` for the rules and ``gate`` for what a release must pass. A running
server follows the ledger: ``orchestrator.serving.conductor``, which judges canaries by
``orchestrator.serving.judging``.
"""
