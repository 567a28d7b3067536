"""Who is measured: the processes of this service, of its peers, and of bare limits."""
