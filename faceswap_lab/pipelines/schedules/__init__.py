"""Pipelines by the clock: lines for cron, timers of systemd, CronJobs of Kubernetes."""
