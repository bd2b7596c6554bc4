"""The Store contract, the LMDB store, the in-memory twin."""
