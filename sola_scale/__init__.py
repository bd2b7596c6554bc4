"""Edit a language model one fact at a time, many times, and take any edit back."""
