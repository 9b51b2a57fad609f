"""Any `torch.nn.Module` as a network of a plan: by the name of its class, or given in Python."""
