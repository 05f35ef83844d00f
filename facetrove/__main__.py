"""`python -m facetrove`: the command line, as the command `facetrove` runs it."""

from facetrove.cli.main import main

if __name__ == "__main__":
    main()
