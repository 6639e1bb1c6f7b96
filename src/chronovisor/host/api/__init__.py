"""visord's HTTP API: one module a subject, paths that read like the commands."""
