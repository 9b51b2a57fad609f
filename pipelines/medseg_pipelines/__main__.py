"""``python -m medseg_pipelines``: the command ``medseg``, as torchrun starts it."""

from medseg_pipelines.cli import main

if __name__ == "__main__":
    main()
