"""The command `mlserver-streaming`: a first folder, its check, its start, keys, the clients.

On the top floor: it may use every room, none uses it. Each sub-command is imported when it is asked
for, so that help is quick and works without any extra.
"""
