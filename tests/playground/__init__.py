"""The page /playground, without a browser; tests/live/test_playground.py has one."""
