"""What a run needs besides data: devices, progress and cancel, memory behaviour, the registry."""
