"""Ray clusters: our own, a named one, a remote one, and several sweeps on one."""
