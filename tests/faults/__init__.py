"""Runs that are killed, and disks that fill up: what is left, and whether a resumed run ends as an unbroken one."""
