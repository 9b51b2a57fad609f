"""One part of each kind, from outside medseg."""
