"""Consent records, admission and export of files, the audit log, and the marks in exported files."""
