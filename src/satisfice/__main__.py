"""`python -m satisfice`."""

from .cli import main

if __name__ == "__main__":
    main()
