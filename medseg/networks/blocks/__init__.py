"""What the architectures are built of: convolutions, norms, gates, skip connections."""
