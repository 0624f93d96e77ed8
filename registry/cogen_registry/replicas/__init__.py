"""What several processes over one database agree on: who is alive, who holds which blob, who does what is done once."""
