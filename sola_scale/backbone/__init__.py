"""All that knows transformers: loading, finding layers, hooks, views, fingerprints."""
