"""What each provider says happened to its objects, as notices of ours. Pure.

One module a provider; each reads one message and returns a `Reading`. A message is somebody else's
bytes: whatever is odd in it is said by a reason, and never by a crash.
"""
