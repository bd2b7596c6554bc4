"""A revocable nearest-key index: numpy and faiss, usable on its own."""
