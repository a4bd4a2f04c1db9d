"""Plain functions without Ray: run one trial, count what it costs, time it."""
