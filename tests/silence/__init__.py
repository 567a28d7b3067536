"""How long the worst requests keep everybody else waiting: `make silence`.

worst_requests (what is sent)   watch (health, asked meanwhile)   __main__ (the run)
"""
