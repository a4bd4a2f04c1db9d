"""A Grafana dashboard over Prometheus' copy of Ray's numbers and ours."""
